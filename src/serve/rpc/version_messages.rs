//! Messages of versions on disk.

use std::time::SystemTime;

use prost_types::Timestamp;

use crate::index::CatalogManifest;
use crate::serve::rpc::times::timestamp;
use crate::serve::state::{VersionDetails, VersionPair};
use crate::store::ProfileManifest;
use crate::wire::v1;

/// What versions are to a server.
pub(crate) struct VersionUses {
    pub(crate) serving: Option<VersionPair>,
    pub(crate) previous: Option<VersionPair>,
    pub(crate) published: Option<VersionPair>,
    pub(crate) pinned: Option<VersionPair>,
}

impl VersionUses {
    /// The uses of `version`, which `part` takes from a pair.
    fn of(&self, version: &str, part: impl Fn(&VersionPair) -> &str) -> Vec<i32> {
        let uses = [
            (&self.serving, v1::VersionUse::Serving),
            (&self.previous, v1::VersionUse::Previous),
            (&self.published, v1::VersionUse::Published),
            (&self.pinned, v1::VersionUse::Pinned),
        ];
        let is_used =
            |pair: &Option<VersionPair>| pair.as_ref().is_some_and(|p| part(p) == version);
        let uses = uses.into_iter().filter(|(pair, _)| is_used(pair));
        uses.map(|(_, used)| used.into()).collect()
    }
}

/// The names of two versions.
pub(crate) fn versions_message(versions: VersionPair) -> v1::Versions {
    v1::Versions {
        catalog_version: versions.catalog,
        profile_version: versions.profiles,
    }
}

/// What is known of a version of the catalog.
pub(crate) fn catalog_details(
    details: VersionDetails<CatalogManifest>,
    uses: &VersionUses,
) -> v1::CatalogDetails {
    let mut message = v1::CatalogDetails {
        uses: uses.of(&details.version, |pair| &pair.catalog),
        version: details.version,
        ..Default::default()
    };
    match details.manifest {
        Ok(manifest) => {
            message.published_time = Some(file_time(manifest.written_at));
            message.size_bytes = manifest.bytes;
            message.embedding_version = manifest.facts.embedding_version;
            message.pins = manifest.facts.pins as u64;
        }
        Err(reason) => message.unreadable = reason,
    }
    message
}

/// What is known of a version of the profiles.
pub(crate) fn profile_details(
    details: VersionDetails<ProfileManifest>,
    uses: &VersionUses,
) -> v1::ProfileDetails {
    let mut message = v1::ProfileDetails {
        uses: uses.of(&details.version, |pair| &pair.profiles),
        version: details.version,
        ..Default::default()
    };
    match details.manifest {
        Ok(manifest) => {
            message.published_time = Some(file_time(manifest.written_at));
            message.size_bytes = manifest.bytes;
            message.embedding_version = manifest.facts.embedding_version;
            message.users = manifest.facts.users;
            message.as_of = Some(timestamp(manifest.facts.as_of));
            message.complete_through = Some(timestamp(manifest.facts.complete_through));
            message.catalog_version = manifest.facts.catalog_version;
        }
        Err(reason) => message.unreadable = reason,
    }
    message
}

/// The time of a file.
fn file_time(time: SystemTime) -> Timestamp {
    Timestamp::from(time)
}
