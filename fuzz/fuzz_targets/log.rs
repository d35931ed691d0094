//! The files of a log of the newest format under damage: the first byte of an input chooses
//! a file, the others are edits of it. `cargo +nightly fuzz run log`

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pinnersage_fuzz::{Damaged, LogFiles, is_log_accepted, newest_format};
use tempfile::TempDir;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus");

static LOG: LazyLock<LogFiles> =
    LazyLock::new(|| LogFiles::read(&newest_format(CORPUS.as_ref()).join("log")));
static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));

fuzz_target!(|input: &[u8]| {
    if let Some(damaged) = Damaged::new(LOG.files(), input) {
        let log = DIRECTORY.path().join("damaged");
        LOG.write_with(&log, &damaged);
        is_log_accepted(&log);
    }
});
