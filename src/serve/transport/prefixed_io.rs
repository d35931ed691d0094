//! The first words of a connection, and why it may end with them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What a client of HTTP/2 says first.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Why a connection was not served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("the client did not serve_http2 in time")]
    TooSlow,
    #[error("the client does not serve_http2 HTTP/2")]
    NotHttp2,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the server closes")]
    Closing,
    #[error("TLS: {0}")]
    Tls(io::Error),
}

impl Refusal {
    /// For `/metrics`.
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

/// Reads the preface of HTTP/2, so that nobody who does not serve_http2 it costs more than
/// a descriptor, and not even that for long.
pub(crate) async fn read_preface<S: AsyncRead + Unpin>(
    mut stream: S,
) -> Result<PrefixedIo<S>, Refusal> {
    let mut said = [0; PREFACE.len()];
    let mut length = 0;
    while length < said.len() {
        match stream.read(&mut said[length..]).await? {
            0 => return Err(Refusal::NotHttp2),
            read => length += read,
        }
        if said[..length] != PREFACE[..length] {
            return Err(Refusal::NotHttp2);
        }
    }
    Ok(PrefixedIo { given: 0, stream })
}

/// A stream whose preface was read already, and is given again.
pub(crate) struct PrefixedIo<S> {
    /// Bytes of the preface that were given.
    given: usize,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for PrefixedIo<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = &PREFACE[self.given..];
        if rest.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let given = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..given]);
        self.given += given;
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
    async fn a_preface_in_pieces_is_given_again_before_what_follows() {
        let (mut client, server) = tokio::io::duplex(64);
        let said = async {
            for piece in PREFACE.chunks(5).chain([&b"more"[..]]) {
                client.write_all(piece).await.expect("a reader");
            }
            drop(client);
        };
        let (opened, ()) = tokio::join!(read_preface(server), said);
        let mut active = Vec::new();
        let mut stream = opened.map_err(|_| "refused").expect("a preface");
        stream.read_to_end(&mut active).await.expect("all of it");
        assert_eq!(active, [&PREFACE[..], b"more"].concat());
    }

    #[tokio::test]
    async fn what_is_no_preface_is_refused_at_its_first_wrong_byte() {
        for said in [&b"GET / HTTP/1.1\r\n"[..], b"PRI * HTTP/3", b"PRI", b""] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(said).await.expect("a reader");
            // Left open where a byte is wrong: it must not be waited for.
            let open = (!PREFACE.starts_with(said)).then_some(client);
            let opened = read_preface(server).await;
            assert!(matches!(opened, Err(Refusal::NotHttp2)), "{said:?}");
            drop(open);
        }
    }
}
