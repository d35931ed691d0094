//! Identities: peers of connections, what their certificates say, callers and roles.
//!
//! This file uses nothing else of `serve`, so that errors and every other room can name
//! an identity.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Deserialize;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// Request recommendations, and the contract by reflection.
    Read,
    /// Record actions, and change pins.
    Write,
    /// List the versions, and change which are served; export and import actions.
    Admin,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

/// A caller that showed its credential; every call of it carries this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Its name in the file of callers, or in its certificate.
    pub(crate) name: String,
    /// What it may do.
    pub(crate) roles: Vec<Role>,
}

impl Caller {
    /// Creates a caller that may do everything.
    pub(crate) fn with_all_roles(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            roles: vec![Role::Read, Role::Write, Role::Admin],
        }
    }

    pub(crate) fn has_role(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }
}

/// What the certificate of a client says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Certificate {
    /// The client presented none, or was not asked for one.
    #[default]
    Absent,
    /// The certificate is valid, for these names.
    Verified(Vec<String>),
    /// The certificate is not valid, for this reason.
    Invalid(String),
}

/// The other end of a connection; every call of the connection carries this.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) certificate: Arc<Certificate>,
}
