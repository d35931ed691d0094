//! The server's credentials: certificates and callers, opened from their files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::auth::AccessPolicy;
use super::callers::{Callers, CallersError};
use super::reload::{self, Sources};
use super::tls::{ReloadableTls, TlsError, TlsParams};
use crate::setting_rules::{InvalidSetting, days, empty_as_no_file, require_duration_in_range};

/// Transport security and access control.
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

impl SecurityParams {
    /// Whether whoever reaches the port may call.
    #[must_use]
    pub fn lets_everybody_call(&self) -> bool {
        let wants_certificates = self.tls.iter().any(|tls| tls.client_ca.is_some());
        self.auth.callers.is_none() && !wants_certificates
    }
}

impl AuthParams {
    /// Refuses values that break their rules, by key.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let looks = Duration::from_secs(1)..=days(1);
        require_duration_in_range("auth.reload", self.reload, looks)
    }
}

/// Credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The file of callers cannot be used.
    #[error(transparent)]
    Callers(#[from] CallersError),
}

/// Certificates and callers that follow the changes of their files.
#[derive(Debug)]
pub(crate) struct Credentials {
    sources: Sources,
    access: AccessPolicy,
    reload_interval: Duration,
}

impl Credentials {
    /// Reads the files that `params` name.
    pub(crate) fn open(params: SecurityParams) -> Result<Self, SecurityError> {
        let wants_certificates = params.tls.iter().any(|tls| tls.client_ca.is_some());
        let tls = params.tls.map(ReloadableTls::open).transpose()?;
        let callers = params.auth.callers.map(Callers::open).transpose()?;
        let callers = callers.map(Arc::new);
        let access = match &callers {
            Some(callers) => AccessPolicy::ListedCallers(callers.clone()),
            None if wants_certificates => AccessPolicy::AnyCertificate,
            None => AccessPolicy::Open,
        };
        Ok(Self {
            sources: Sources {
                tls: tls.map(Arc::new),
                callers,
            },
            access,
            reload_interval: params.auth.reload,
        })
    }

    /// Returns the TLS acceptor; none serves in plain text.
    pub(crate) fn tls(&self) -> Option<Arc<ReloadableTls>> {
        self.sources.tls.clone()
    }

    pub(crate) fn access(&self) -> AccessPolicy {
        self.access.clone()
    }

    /// Reloads files that change. Never ends.
    pub(crate) async fn watch(&self) {
        reload::watch(self.sources.clone(), self.reload_interval).await;
    }
}
