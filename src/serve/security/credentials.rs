//! What the server keeps in files of its own: certificates and callers, taken over
//! again when the files change.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{Context, SHA256};
use serde::Deserialize;

use crate::serve::ServeError;
use crate::serve::security::auth::Guard;
use crate::serve::security::callers::{Callers, CallersError};
use crate::serve::security::tls::{Tls, TlsError, TlsParams};
use crate::setting_rules::{InvalidSetting, days, empty_as_no_file, require_duration_in_range};

/// Who may call, and how.
#[derive(Clone, Debug)]
pub struct SecurityParams {
    /// Certificates; none serves in plain text.
    pub tls: Option<TlsParams>,
    /// Callers, and how often all files are read again.
    pub auth: AuthParams,
}

/// The section `auth` of the settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthParams {
    /// The file of callers; none lets everybody call, or where clients need a
    /// certificate everybody who has one.
    #[serde(deserialize_with = "empty_as_no_file")]
    pub callers: Option<PathBuf>,
    /// Interval between two looks whether files have changed.
    #[serde(with = "humantime_serde")]
    pub reload: Duration,
}

impl AuthParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let looks = Duration::from_secs(1)..=days(1);
        require_duration_in_range("auth.reload", self.reload, looks)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Secrets {
    tls: Option<Arc<Tls>>,
    guard: Guard,
    reload: Duration,
}

impl Secrets {
    pub(crate) fn open<E>(params: SecurityParams) -> Result<Self, ServeError<E>> {
        let wants_certificates = params.tls.iter().any(|tls| tls.client_ca.is_some());
        let tls = params.tls.map(Tls::open).transpose()?;
        let guard = match params.auth.callers {
            Some(path) => Guard::Listed(Arc::new(Callers::open(path)?)),
            None if wants_certificates => Guard::Certified,
            None => Guard::Open,
        };
        Ok(Self {
            tls: tls.map(Arc::new),
            guard,
            reload: params.auth.reload,
        })
    }

    pub(crate) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.clone()
    }

    pub(crate) fn guard(&self) -> Guard {
        self.guard.clone()
    }

    /// Takes over what changes in the files. Never ends.
    pub(crate) async fn watch(&self) {
        let least = Duration::from_millis(1);
        let mut ticks = tokio::time::interval(self.reload.max(least));
        // The first is at once, when they have just been read.
        ticks.tick().await;
        let mut last = [None, None];
        loop {
            ticks.tick().await;
            let (tls, guard) = (self.tls.clone(), self.guard.clone());
            let reloading = tokio::task::spawn_blocking(move || {
                let tls = tls.map(|tls| tls.reload().map_err(|error: TlsError| error.to_string()));
                let callers = match guard {
                    Guard::Listed(callers) => {
                        let reloaded = callers.reload();
                        Some(reloaded.map_err(|error: CallersError| error.to_string()))
                    }
                    Guard::Open | Guard::Certified => None,
                };
                [("certificates", tls), ("callers", callers)]
            });
            // A panic has said so itself.
            let Ok(reloaded) = reloading.await else {
                continue;
            };
            for ((what, reloaded), last) in reloaded.into_iter().zip(&mut last) {
                let failed = match reloaded {
                    Some(Ok(true)) => {
                        tracing::info!(what, "took over what changed");
                        None
                    }
                    Some(Ok(false)) | None => None,
                    Some(Err(reason)) => Some(reason),
                };
                // Once for each failure, not at every look.
                if failed.is_some() && failed != *last {
                    let reason = failed.as_deref();
                    tracing::warn!(
                        what,
                        reason,
                        "changed, but cannot be used: the old ones stay"
                    );
                }
                *last = failed;
            }
        }
    }
}

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// The hash of pieces, in their order.
pub(crate) fn hash<T: AsRef<[u8]>>(pieces: &[T]) -> Hash {
    let mut context = Context::new(&SHA256);
    for piece in pieces {
        let piece = piece.as_ref();
        // With lengths, so that where one ends counts too.
        context.update(&(piece.len() as u64).to_le_bytes());
        context.update(piece);
    }
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
