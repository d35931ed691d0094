//! How a node is reached: addresses, TLS and who we are.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use percent_encoding::percent_decode_str;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::super::error::LogError;
use super::super::params::ActionLogParams;

/// A node that does not answer two of these is left.
const PING_INTERVAL: Duration = Duration::from_secs(1);
/// A stopped node accepts a connection, and says nothing.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(1);
const MAX_RECONNECT_DELAY: Duration = Duration::from_millis(250);
/// Messages that wait for a reader. What comes beyond is dropped and asked for again.
const SUBSCRIPTION_CAPACITY: usize = 2048;

/// What a client needs to know, read and checked once.
pub(super) struct Access {
    /// The addresses; one client for each.
    pub(super) addresses: Vec<ServerAddr>,
    user: Option<(String, String)>,
    credentials: Option<String>,
    params: ActionLogParams,
}

impl Access {
    /// Reads what `params` names.
    ///
    /// # Errors
    ///
    /// An address that is none, or a file that is missing or holds something else.
    pub(super) fn new(params: &ActionLogParams) -> Result<Self, LogError> {
        let parse = |text: &str| {
            let address: Result<ServerAddr, _> = text.parse();
            address.map_err(|error| LogError::Unreachable {
                url: redact(params),
                reason: format!("an address of actions.log.url is none: {error}"),
            })
        };
        let addresses: Vec<ServerAddr> = params.urls().map(parse).collect::<Result<_, _>>()?;
        let login = addresses.iter().find_map(|address| {
            let password = address.password().unwrap_or_default();
            Some((address.username()?, password))
        });
        let decoded = |part: &str| {
            let decoded = percent_decode_str(part).decode_utf8();
            // The parser's own words may quote the password.
            let decoded = decoded.map(Cow::into_owned).ok();
            decoded.ok_or_else(|| LogError::Unreachable {
                url: redact(params),
                reason: "the user or password in actions.log.url is no text in UTF-8".to_owned(),
            })
        };
        let user = match login {
            Some((user, password)) => Some((decoded(user)?, decoded(password)?)),
            None => None,
        };
        if let Some(ca) = &params.ca {
            check_certificates(ca)?;
        }
        if let (Some(certificate), Some(key)) = (&params.certificate, &params.key) {
            check_certificates(certificate)?;
            // The parser's own words may quote the file.
            PrivateKeyDer::from_pem_slice(&read(key)?)
                .map_err(|_| unusable(key, "it has no key in PEM"))?;
        }
        let credentials = params.credentials.as_deref().map(read_credentials);
        Ok(Self {
            addresses,
            user,
            credentials: credentials.transpose()?,
            params: params.clone(),
        })
    }

    /// The options of a client that follows only the addresses it is given, if `is_pinned`.
    pub(super) fn options(&self, is_pinned: bool) -> Result<ConnectOptions, LogError> {
        let mut options = ConnectOptions::new()
            .name("pinnersage")
            .ping_interval(PING_INTERVAL)
            .connection_timeout(CONNECTION_TIMEOUT)
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .reconnect_delay_callback(reconnect_delay)
            .retry_on_initial_connect();
        if is_pinned {
            options = options.ignore_discovered_servers();
        }
        if let Some((user, password)) = &self.user {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let (Some(text), Some(path)) = (&self.credentials, &self.params.credentials) {
            let with = options.credentials(text);
            options = with.map_err(|_| unusable(path, "it has no credentials of NATS"))?;
        }
        if let Some(ca) = &self.params.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        if let (Some(certificate), Some(key)) = (&self.params.certificate, &self.params.key) {
            options = options
                .add_client_certificate(certificate.clone(), key.clone())
                .require_tls(true);
        }
        Ok(options)
    }
}

/// The addresses without what is secret in them.
pub(super) fn redact(params: &ActionLogParams) -> String {
    let redacted = params.urls().map(|url| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
        let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        format!("{scheme}://{host}")
    });
    redacted.collect::<Vec<_>>().join(",")
}

fn reconnect_delay(attempts: usize) -> Duration {
    let steps = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    Duration::from_millis(25)
        .saturating_mul(steps)
        .min(MAX_RECONNECT_DELAY)
}

fn read(path: &Path) -> Result<Vec<u8>, LogError> {
    std::fs::read(path).map_err(LogError::io(path))
}

fn read_credentials(path: &Path) -> Result<String, LogError> {
    let text = String::from_utf8(read(path)?);
    text.map_err(|_| unusable(path, "it has no credentials of NATS"))
}

fn check_certificates(path: &Path) -> Result<(), LogError> {
    let pem = read(path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match certificates {
        Ok(found) if !found.is_empty() => Ok(()),
        _ => Err(unusable(path, "it has no certificate in PEM")),
    }
}

fn unusable(path: &Path, reason: &str) -> LogError {
    LogError::Io {
        path: path.to_owned(),
        cause: std::io::Error::new(std::io::ErrorKind::InvalidData, reason.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_percent_encoded_in_a_login_is_decoded_and_other_bytes_are_refused() {
        let access = |url: &str| {
            Access::new(&ActionLogParams {
                url: url.to_owned(),
                ..ActionLogParams::sample()
            })
        };
        let login = |url| access(url).expect("an address").user;
        let expected = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(
            login("nats://a%40b:p%2Fq%3A%25@h:1"),
            expected("a@b", "p/q:%")
        );
        assert_eq!(login("nats://u:p@h"), expected("u", "p"));
        assert_eq!(login("nats://h"), None);
        let refused = access("nats://u:%FFsecret@h")
            .err()
            .expect("no text")
            .to_string();
        assert!(refused.contains("actions.log.url is no text"), "{refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }

    #[test]
    fn the_delay_grows_to_a_limit() {
        let delays = [0, 1, 2, 5, 1_000].map(|attempts| reconnect_delay(attempts).as_millis());
        assert_eq!(delays, [0, 0, 25, 100, 250]);
    }
}
