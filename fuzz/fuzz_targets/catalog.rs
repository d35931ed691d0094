//! The catalog of the newest format under damage: the first byte of an input chooses a
//! file, the others are edits of it. `cargo +nightly fuzz run catalog`

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pinnersage_fuzz::{Damaged, Version, is_catalog_accepted, newest_format};
use tempfile::TempDir;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus");

static VERSION: LazyLock<Version> =
    LazyLock::new(|| Version::read(&newest_format(CORPUS.as_ref()).join("catalog")));
static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));

fuzz_target!(|input: &[u8]| {
    if let Some(damaged) = Damaged::new(VERSION.parts(), input) {
        VERSION.write_with(DIRECTORY.path(), &damaged);
        is_catalog_accepted(DIRECTORY.path());
    }
});
