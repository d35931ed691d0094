//! The records in a log of the newest format under damage, with checksums that fit: the
//! first byte of an input chooses a record, the others are edits of its value.
//! `cargo +nightly fuzz run records`

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pinnersage_fuzz::{Damaged, LogFiles, LogRecords, is_log_accepted, newest_format};
use tempfile::TempDir;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/corpus");

static LOG: LazyLock<LogFiles> =
    LazyLock::new(|| LogFiles::read(&newest_format(CORPUS.as_ref()).join("log")));
static DIRECTORY: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));
static RECORDS: LazyLock<LogRecords> = LazyLock::new(|| {
    LOG.write(DIRECTORY.path());
    LogRecords::read(DIRECTORY.path())
});

fuzz_target!(|input: &[u8]| {
    if let Some(damaged) = Damaged::new(RECORDS.values(), input) {
        let log = DIRECTORY.path().join("damaged");
        LOG.write(&log);
        RECORDS.write_with(&log, &damaged);
        is_log_accepted(&log);
    }
});
