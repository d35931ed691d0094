//! The profiles of the newest format under damage: the first byte of an input chooses a
//! file, the others are edits of it. `cargo +nightly fuzz run profiles`

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pinnersage_fuzz::{Damaged, Version, are_profiles_accepted, newest_format};
use tempfile::TempDir;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus");

static VERSION: LazyLock<Version> =
    LazyLock::new(|| Version::read(&newest_format(CORPUS.as_ref()).join("profiles")));
static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));

fuzz_target!(|input: &[u8]| {
    if let Some(damaged) = Damaged::new(VERSION.parts(), input) {
        VERSION.write_with(DIRECTORY.path(), &damaged);
        are_profiles_accepted(DIRECTORY.path());
    }
});
