//! Version headers: the build, the catalog and the profiles behind an answer, as metadata,
//! so that an access log can tell a canary from the other servers.

use tonic::Response;
use tonic::metadata::{Ascii, MetadataValue};

/// Version and commit of this binary.
const BUILD: &str = env!("PINNERSAGE_BUILD");

/// Metadata of all answers from one catalog and one set of profiles.
#[derive(Clone, Debug)]
pub(crate) struct VersionHeaders([(&'static str, MetadataValue<Ascii>); 3]);

impl VersionHeaders {
    /// Creates the headers of these versions; a version that is no ASCII text is sent as
    /// `unprintable`.
    pub(crate) fn new(catalog: &str, profiles: &str) -> Self {
        let value = |text: &str| {
            let value = MetadataValue::try_from(text);
            value.unwrap_or_else(|_| MetadataValue::from_static("unprintable"))
        };
        Self([
            ("x-pinnersage-build", value(BUILD)),
            ("x-pinnersage-catalog-version", value(catalog)),
            ("x-pinnersage-profile-version", value(profiles)),
        ])
    }

    /// Creates the response with `message` and these headers.
    pub(crate) fn apply<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        for (name, value) in &self.0 {
            response.metadata_mut().insert(*name, value.clone());
        }
        response
    }
}
