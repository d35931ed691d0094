//! TLS, and who a client's certificate says it is.
//!
//! A certificate that does not hold does not end the handshake, as rustls alone would
//! do it: the client would only see a closed connection. It is judged right after, and
//! every call of that connection is answered UNAUTHENTICATED with the reason; that the
//! client has the certificate's key is still checked in the handshake. Health needs no
//! certificate, since probes have none.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fs, io};

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme,
};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::serve::security::credentials::{Hash, hash};
use crate::setting_rules::{InvalidSetting, empty_as_no_file, require};

/// The section `tls` of the settings: files of certificates and keys, in PEM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsParams {
    /// The server's certificate, with those between it and its root; empty to serve
    /// plain text.
    pub certificate: PathBuf,
    /// Its key; empty to serve plain text.
    pub key: PathBuf,
    /// The roots of clients' certificates; none asks for no certificate.
    #[serde(deserialize_with = "empty_as_no_file")]
    pub client_ca: Option<PathBuf>,
}

impl TlsParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let has_key = !self.key.as_os_str().is_empty();
        let is_paired = self.has_certificate() == has_key;
        let rule = "given together with tls.certificate";
        require("tls.key", self.key.display(), is_paired, rule)?;
        match &self.client_ca {
            Some(path) => require(
                "tls.client_ca",
                path.display(),
                self.has_certificate(),
                rule,
            ),
            None => Ok(()),
        }
    }

    /// The same where there is a certificate, none where plain text is served.
    #[must_use]
    pub fn if_given(self) -> Option<Self> {
        Some(self).filter(Self::has_certificate)
    }

    fn has_certificate(&self) -> bool {
        !self.certificate.as_os_str().is_empty()
    }
}

/// Why certificates cannot be used. Never says what is in a file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A file has nothing that can be used.
    #[error("{}: {reason}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// What a client's certificate says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// There is none, or nobody asked for it.
    #[default]
    None,
    /// It holds, for these names.
    Of(Vec<String>),
    /// It does not hold, for this reason.
    Refused(String),
}

/// Accepts connections with the certificates that are in the files now.
#[derive(Debug)]
pub(crate) struct Tls {
    params: TlsParams,
    current: ArcSwap<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
    /// Hash of all files, to tell whether they changed.
    hash: Hash,
}

impl Tls {
    pub(crate) fn open(params: TlsParams) -> Result<Self, TlsError> {
        let files = read(&params)?;
        let current = ArcSwap::from_pointee(Current::of(&params, &files)?);
        Ok(Self { params, current })
    }

    /// Takes over what the files hold now. Whether that is anything new; after an
    /// error what was there before is still in use.
    pub(crate) fn reload(&self) -> Result<bool, TlsError> {
        let files = read(&self.params)?;
        if hash(&files) == self.current.load().hash {
            return Ok(false);
        }
        self.current
            .store(Arc::new(Current::of(&self.params, &files)?));
        Ok(true)
    }

    /// The handshake.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, Certificate)> {
        let current = self.current.load_full();
        let acceptor = TlsAcceptor::from(current.config.clone());
        let stream = acceptor.accept(stream).await?;
        let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = match (&current.clients, presented) {
            (Some(clients), [own, between @ ..]) => judge(&**clients, own, between),
            _ => Certificate::None,
        };
        Ok((stream, certificate))
    }
}

/// What a certificate that a client has the key of says.
fn judge(
    clients: &dyn ClientCertVerifier,
    own: &CertificateDer<'_>,
    between: &[CertificateDer<'_>],
) -> Certificate {
    if let Err(error) = clients.verify_client_cert(own, between, UnixTime::now()) {
        return Certificate::Refused(error.to_string());
    }
    match webpki::EndEntityCert::try_from(own) {
        Ok(own) => {
            let names = own.valid_uri_names().chain(own.valid_dns_names());
            Certificate::Of(names.map(str::to_owned).collect())
        }
        Err(error) => Certificate::Refused(error.to_string()),
    }
}

fn read(params: &TlsParams) -> Result<Vec<Vec<u8>>, TlsError> {
    let TlsParams {
        certificate,
        key,
        client_ca,
    } = params;
    let files = [certificate, key].into_iter().chain(client_ca);
    let read = |path: &PathBuf| {
        fs::read(path).map_err(|error| TlsError::File {
            path: path.clone(),
            error,
        })
    };
    files.map(read).collect()
}

impl Current {
    fn of(params: &TlsParams, files: &[Vec<u8>]) -> Result<Self, TlsError> {
        let wrong = |path: &Path, reason: &dyn ToString| TlsError::Contents {
            path: path.to_owned(),
            reason: reason.to_string(),
        };
        let clients = match (&params.client_ca, files.get(2)) {
            (Some(path), Some(pem)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(path, pem)? {
                    roots.add(root).map_err(|error| wrong(path, &error))?;
                }
                let provider = Arc::new(default_provider());
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                Some(verifier.build().map_err(|error| wrong(path, &error))?)
            }
            _ => None,
        };
        let chain = certificates(&params.certificate, &files[0])?;
        // The parser's own words may quote the file.
        let key = PrivateKeyDer::from_pem_slice(&files[1])
            .map_err(|_| wrong(&params.key, &"has no key in PEM"))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&params.certificate, &error))?;
        let builder = match &clients {
            Some(clients) => {
                builder.with_client_cert_verifier(Arc::new(Presented(clients.clone())))
            }
            None => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|error| wrong(&params.certificate, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self {
            config: Arc::new(config),
            clients,
            hash: hash(files),
        })
    }
}

/// The certificates in a file, at least one.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    found.ok_or_else(|| TlsError::Contents {
        path: path.to_owned(),
        reason: "has no certificate in PEM".to_owned(),
    })
}

/// Takes any certificate that a client has the key of: [`judge`] comes after.
#[derive(Debug)]
struct Presented(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Presented {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
