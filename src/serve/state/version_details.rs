//! What is known of each version on disk, from its manifest, for operators.

use std::path::Path;
use std::time::SystemTime;

use crate::index::CatalogManifest;
use crate::serve::state::snapshot_source::{ServingSource, VersionPair};
use crate::snapshot::{self, ManifestFacts, Reader, SnapshotError};
use crate::store::ProfileManifest;

/// All versions that exist, by ascending name, and the published ones.
#[derive(Debug)]
pub(crate) struct AvailableVersions {
    pub(crate) catalogs: Vec<VersionDetails<CatalogManifest>>,
    pub(crate) profiles: Vec<VersionDetails<ProfileManifest>>,
    pub(crate) published: VersionPair,
}

/// One version on disk.
#[derive(Debug)]
pub(crate) struct VersionDetails<F> {
    pub(crate) version: String,
    /// Its manifest, or why that cannot be read.
    pub(crate) manifest: Result<ManifestDetails<F>, String>,
}

/// What the manifest of a version tells.
#[derive(Debug)]
pub(crate) struct ManifestDetails<F> {
    /// When it was written.
    pub(crate) written_at: SystemTime,
    /// Bytes of its files; neighbor lists are apart.
    pub(crate) bytes: u64,
    pub(crate) facts: F,
}

impl AvailableVersions {
    /// Reads the manifests of all versions of `source`; none where it is a single version.
    pub(crate) fn read(source: &ServingSource) -> Result<Option<Self>, SnapshotError> {
        let Some(published) = source.published()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            catalogs: details(&source.catalog)?,
            profiles: details(&source.profiles)?,
            published,
        }))
    }
}

/// The versions in the versioned directory `root`.
fn details<F: ManifestFacts>(root: &Path) -> Result<Vec<VersionDetails<F>>, SnapshotError> {
    let versions = snapshot::versions(root)?.into_iter();
    let details = |version: String| VersionDetails {
        // One that is damaged, or was deleted meanwhile, hides no other.
        manifest: manifest(&root.join(&version)).map_err(|e| e.to_string()),
        version,
    };
    Ok(versions.map(details).collect())
}

fn manifest<F: ManifestFacts>(version: &Path) -> Result<ManifestDetails<F>, SnapshotError> {
    let reader = Reader::<F>::open(version)?;
    let written_at = reader.written_at()?;
    let manifest = reader.into_manifest();
    Ok(ManifestDetails {
        written_at,
        bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        facts: manifest.facts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::state::test_world::{MODEL, PROFILE_DAY, TestWorld, day};

    #[test]
    fn versions_have_their_facts_and_a_damaged_one_has_a_reason() {
        let world = TestWorld::new();
        let first = world
            .source()
            .published()
            .expect("a source")
            .expect("versions");
        let second = world.publish(0..30);
        let path = world
            .path("catalog")
            .join(&first.catalog)
            .join("manifest.json");
        std::fs::write(path, "{}").expect("a file");
        let available = AvailableVersions::read(&world.source()).expect("a source");
        let available = available.expect("directories of versions");
        assert_eq!(available.published, second);
        assert_eq!((available.catalogs.len(), available.profiles.len()), (2, 2));
        for catalog in available.catalogs {
            match catalog.manifest {
                Ok(manifest) => {
                    assert_eq!(catalog.version, second.catalog);
                    assert_eq!(manifest.facts.pins, 30);
                    assert_eq!(manifest.facts.embedding_version, MODEL);
                    assert!(manifest.bytes > 0);
                }
                Err(reason) => {
                    assert_eq!(catalog.version, first.catalog);
                    assert!(reason.contains("manifest.json"), "{reason}");
                }
            }
        }
        let profiles = available.profiles[0].manifest.as_ref().expect("a manifest");
        assert_eq!(profiles.facts.as_of, day(PROFILE_DAY));
    }
}
