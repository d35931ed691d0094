//! Who calls, and what they may do.
//!
//! Files in reading order, each using only those before it: `identity` (callers, roles,
//! certificates, peers), `digest` (hashes of files and tokens), `tls` (handshakes and
//! client certificates), `callers` (the file of callers), `auth` (the decision about a
//! call), `reload` (changes of files), `credentials` (all of it, opened from settings).

mod digest;
pub(crate) mod identity;

mod auth;
mod callers;
mod credentials;
mod reload;
mod tls;

pub(crate) use auth::AccessPolicy;
pub use callers::CallersError;
pub(crate) use credentials::Credentials;
pub use credentials::{AuthParams, SecurityError, SecurityParams};
pub(crate) use tls::ReloadableTls;
pub use tls::{TlsError, TlsParams};
