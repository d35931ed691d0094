//! The messages of a shared log under damage, with a checksum that fits: the first byte of an
//! input chooses a message, the others are edits of it. `cargo +nightly fuzz run frames`

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use pinnersage_fuzz::{Damaged, is_message_accepted, messages};

static MESSAGES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(messages);

fuzz_target!(|input: &[u8]| {
    if let Some(damaged) = Damaged::new(&MESSAGES, input) {
        is_message_accepted(&damaged.bytes);
    }
});
