//! Which build answered from which versions: metadata of every answer, so that an
//! access log can tell a canary from the others.

use tonic::Response;
use tonic::metadata::{Ascii, MetadataValue};

/// Version and commit of this binary.
const BUILD: &str = env!("PINNERSAGE_BUILD");

/// The metadata of answers from one catalog and one set of profiles.
#[derive(Clone, Debug)]
pub(crate) struct VersionHeaders([(&'static str, MetadataValue<Ascii>); 3]);

impl VersionHeaders {
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

    /// The answer `message` with its metadata.
    pub(crate) fn apply<T>(&self, message: T) -> Response<T> {
        let mut response = Response::new(message);
        for (name, value) in &self.0 {
            response.metadata_mut().insert(*name, value.clone());
        }
        response
    }
}
