//! TLS, and the identity in a client's certificate.
//!
//! An invalid client certificate does not end the handshake, as rustls alone would do
//! it: the client would only see a closed connection. The certificate is verified right
//! after the handshake, and every call of that connection is answered UNAUTHENTICATED
//! with the reason. The handshake still checks that the client has the key of the
//! certificate. Health needs no certificate, since probes have none.

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

use super::digest::{Digest, Reloaded, hash};
use super::identity::Certificate;
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

/// Certificates cannot be used. The text never quotes a file.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        error: io::Error,
    },
    /// A file contains nothing that can be used.
    #[error("{}: {reason}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl TlsError {
    fn contents(path: &Path, reason: &dyn ToString) -> Self {
        Self::Contents {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// TLS acceptor whose certificates can be read again while it serves.
#[derive(Debug)]
pub(crate) struct ReloadableTls {
    params: TlsParams,
    current: ArcSwap<LoadedTls>,
}

impl ReloadableTls {
    /// Reads the files that `params` name.
    pub(super) fn open(params: TlsParams) -> Result<Self, TlsError> {
        let files = PemFiles::read(&params)?;
        let current = ArcSwap::from_pointee(LoadedTls::new(&params, &files)?);
        Ok(Self { params, current })
    }

    /// Reads the files again. After an error the old certificates stay in use.
    pub(super) fn reload(&self) -> Result<Reloaded, TlsError> {
        let files = PemFiles::read(&self.params)?;
        if files.digest() == self.current.load().digest {
            return Ok(Reloaded::Unchanged);
        }
        self.current
            .store(Arc::new(LoadedTls::new(&self.params, &files)?));
        Ok(Reloaded::Changed)
    }

    /// Performs the handshake and verifies the client's certificate.
    pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
    ) -> io::Result<(TlsStream<S>, Certificate)> {
        let current = self.current.load_full();
        let acceptor = TlsAcceptor::from(current.config.clone());
        let stream = acceptor.accept(stream).await?;
        let presented = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = match (&current.client_verifier, presented) {
            (Some(verifier), [end_entity, intermediates @ ..]) => {
                verify_client(&**verifier, end_entity, intermediates)
            }
            _ => Certificate::Absent,
        };
        Ok((stream, certificate))
    }
}

/// Verifies a certificate whose key the client has shown to have.
fn verify_client(
    verifier: &dyn ClientCertVerifier,
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
) -> Certificate {
    if let Err(error) = verifier.verify_client_cert(end_entity, intermediates, UnixTime::now()) {
        return Certificate::Invalid(error.to_string());
    }
    match webpki::EndEntityCert::try_from(end_entity) {
        Ok(parsed) => {
            let names = parsed.valid_uri_names().chain(parsed.valid_dns_names());
            Certificate::Verified(names.map(str::to_owned).collect())
        }
        Err(error) => Certificate::Invalid(error.to_string()),
    }
}

/// Contents of the files that [`TlsParams`] name.
struct PemFiles {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl PemFiles {
    fn read(params: &TlsParams) -> Result<Self, TlsError> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|error| TlsError::File {
                path: path.clone(),
                error,
            })
        };
        Ok(Self {
            certificate: read(&params.certificate)?,
            key: read(&params.key)?,
            client_ca: params.client_ca.as_ref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> Digest {
        let files = [&self.certificate, &self.key];
        let files: Vec<_> = files.into_iter().chain(&self.client_ca).collect();
        hash(&files)
    }
}

/// TLS configuration that was built from files.
#[derive(Debug)]
struct LoadedTls {
    config: Arc<ServerConfig>,
    client_verifier: Option<Arc<dyn ClientCertVerifier>>,
    /// Digest of all files, to see whether they changed.
    digest: Digest,
}

impl LoadedTls {
    fn new(params: &TlsParams, files: &PemFiles) -> Result<Self, TlsError> {
        let client_verifier = match (&params.client_ca, &files.client_ca) {
            (Some(path), Some(pem)) => Some(client_verifier(path, pem)?),
            _ => None,
        };
        let config = server_config(params, files, client_verifier.as_ref())?;
        Ok(Self {
            config: Arc::new(config),
            client_verifier,
            digest: files.digest(),
        })
    }
}

/// Creates the verifier of clients whose roots are in `pem`.
fn client_verifier(path: &Path, pem: &[u8]) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in parse_certificates(path, pem)? {
        let added = roots.add(root);
        added.map_err(|error| TlsError::contents(path, &error))?;
    }
    let provider = Arc::new(default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| TlsError::contents(path, &error))
}

fn server_config(
    params: &TlsParams,
    files: &PemFiles,
    client_verifier: Option<&Arc<dyn ClientCertVerifier>>,
) -> Result<ServerConfig, TlsError> {
    let chain = parse_certificates(&params.certificate, &files.certificate)?;
    // The parser's own words may quote the file.
    let key = PrivateKeyDer::from_pem_slice(&files.key)
        .map_err(|_| TlsError::contents(&params.key, &"has no key in PEM"))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError::contents(&params.certificate, &error))?;
    let builder = match client_verifier {
        Some(verifier) => {
            builder.with_client_cert_verifier(Arc::new(AcceptAnyCertificate(verifier.clone())))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| TlsError::contents(&params.certificate, &error))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

/// Parses the certificates in a file, at least one.
fn parse_certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.ok().filter(|parsed| !parsed.is_empty());
    certificates.ok_or_else(|| TlsError::contents(path, &"has no certificate in PEM"))
}

/// Accepts any certificate whose key the client has: [`verify_client`] comes after the
/// handshake.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for AcceptAnyCertificate {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes a new certificate and its key to `directory`.
    fn write(directory: &Path) -> TlsParams {
        let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]);
        let certified = certified.expect("a certificate");
        let params = TlsParams {
            certificate: directory.join("certificate.pem"),
            key: directory.join("key.pem"),
            client_ca: None,
        };
        let key = certified.signing_key.serialize_pem();
        fs::write(&params.certificate, certified.cert.pem()).expect("a disk");
        fs::write(&params.key, key).expect("a disk");
        params
    }

    #[test]
    fn certificates_are_replaced_only_by_others_that_can_be_used() {
        let directory = tempfile::tempdir().expect("a directory");
        let params = write(directory.path());
        let tls = ReloadableTls::open(params.clone()).expect("a certificate");
        let first = tls.current.load().digest;
        assert_eq!(tls.reload().expect("the same"), Reloaded::Unchanged);

        fs::write(&params.key, "a secret that is no key").expect("a disk");
        let error = tls.reload().expect_err("no key").to_string();
        assert!(
            error.contains("key.pem") && !error.contains("secret"),
            "{error}"
        );
        assert_eq!(tls.current.load().digest, first);

        write(directory.path());
        assert_eq!(tls.reload().expect("another"), Reloaded::Changed);
        assert_ne!(tls.current.load().digest, first);
    }

    #[test]
    fn a_client_ca_is_a_part_of_the_digest() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut params = write(directory.path());
        let without = PemFiles::read(&params).expect("files").digest();
        params.client_ca = Some(params.certificate.clone());
        let with = PemFiles::read(&params).expect("files").digest();
        assert_ne!(without, with);
    }
}
