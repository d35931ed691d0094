//! Names of the files that every versioned directory has.

/// The manifest of a version.
pub(super) const MANIFEST: &str = "manifest.json";
/// The file that names the version in use.
pub(super) const CURRENT: &str = "CURRENT";
