//! The preface of HTTP/2: read first, and then given to the HTTP/2 server again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// The first bytes of every client of HTTP/2 (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Reason for which a connection is closed before its first call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The handshake timeout has passed.
    #[error("the client did not speak HTTP/2 in time")]
    TooSlow,
    /// The first bytes are not the preface of HTTP/2.
    #[error("the client does not speak HTTP/2")]
    NotHttp2,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The server stops.
    #[error("the server closes")]
    Closing,
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
}

impl Refusal {
    /// Returns the label in `/metrics`.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::TooSlow => "too_slow",
            Self::NotHttp2 => "not_http2",
            Self::Io(_) => "io",
            Self::Closing => "closing",
            Self::Tls(_) => "tls",
        }
    }
}

/// Reads the preface of HTTP/2. A client that does not send it costs one descriptor, and
/// not even that for long.
pub(crate) async fn read_preface<S: AsyncRead + Unpin>(
    mut stream: S,
) -> Result<PrefixedIo<S>, Refusal> {
    let mut bytes = [0; PREFACE.len()];
    let mut length = 0;
    while length < bytes.len() {
        match stream.read(&mut bytes[length..]).await? {
            0 => return Err(Refusal::NotHttp2),
            read => length += read,
        }
        if bytes[..length] != PREFACE[..length] {
            return Err(Refusal::NotHttp2);
        }
    }
    Ok(PrefixedIo {
        replayed: 0,
        stream,
    })
}

/// A stream whose preface was read already, and is replayed before what follows.
pub(crate) struct PrefixedIo<S> {
    /// Bytes of the preface that were replayed.
    replayed: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefixedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &PREFACE[self.replayed..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.replayed += length;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PrefixedIo<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn a_preface_in_pieces_is_replayed_before_what_follows() {
        let (mut client, server) = tokio::io::duplex(64);
        let sending = async {
            for piece in PREFACE.chunks(5).chain([&b"more"[..]]) {
                client.write_all(piece).await.expect("a reader");
            }
            drop(client);
        };
        let (opened, ()) = tokio::join!(read_preface(server), sending);
        let mut received = Vec::new();
        let mut stream = opened.expect("a preface");
        stream.read_to_end(&mut received).await.expect("all of it");
        assert_eq!(received, [&PREFACE[..], b"more"].concat());
    }

    #[tokio::test]
    async fn other_bytes_are_refused_at_the_first_wrong_one() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/3", b"PRI", b""] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(bytes).await.expect("a reader");
            // The stream stays open where a byte is wrong: the refusal must not wait for more.
            let open = (!PREFACE.starts_with(bytes)).then_some(client);
            let opened = read_preface(server).await;
            assert!(matches!(opened, Err(Refusal::NotHttp2)), "{bytes:?}");
            drop(open);
        }
    }

    #[tokio::test]
    async fn a_preface_is_replayed_into_buffers_of_any_size() {
        let (mut client, server) = tokio::io::duplex(64);
        client.write_all(PREFACE).await.expect("a reader");
        drop(client);
        let mut stream = read_preface(server).await.expect("a preface");
        let mut received: Vec<u8> = Vec::new();
        let mut buffer = [0; 7];
        loop {
            let length = stream.read(&mut buffer).await.expect("bytes");
            if length == 0 {
                break;
            }
            received.extend(&buffer[..length]);
        }
        assert_eq!(received, PREFACE);
    }
}
