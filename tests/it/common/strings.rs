//! The usual world, with pins that are called by strings and users that are called by UUIDs.

use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeBinaryArray};

use super::files::{columns, ids, texts, vectors};
use super::{EMBEDDING_VERSION, Pin, World, actions, pins};

/// The key of a pin of the usual world.
pub(crate) fn pin_key(pin: i64) -> String {
    format!("pin/{pin}")
}

/// The key of a user of the usual world.
pub(crate) fn user_key(user: i64) -> String {
    format!("00000000-0000-{user:04x}-0000-00000000abcd")
}

fn uuid(user: i64) -> [u8; 16] {
    ((user as u128) << 64 | 0xabcd).to_be_bytes()
}

/// The files of the usual world, with strings and UUIDs in place of its numbers.
pub(crate) fn world() -> World {
    let directory = tempfile::tempdir().expect("a directory");
    let world = World { directory };
    write_pins(&world.path("pins.parquet"), &pins());
    let uuids = actions().into_iter().map(|action| uuid(action.user));
    let uuids = FixedSizeBinaryArray::try_from_iter(uuids).expect("UUIDs");
    write_actions(&world.path("actions.parquet"), Arc::new(uuids));
    world
}

/// The files, and what is built from them.
pub(crate) fn built() -> World {
    let world = world();
    world.build_catalog("catalog", EMBEDDING_VERSION);
    world.build_profiles("catalog", "profiles", true);
    world
}

/// Writes `pins` with keys.
pub(crate) fn write_pins(file: &Path, pins: &[Pin]) {
    let keys: Vec<String> = pins.iter().map(|pin| pin_key(pin.id)).collect();
    let embeddings = pins.iter().map(|pin| pin.embedding.as_slice());
    let named = vec![
        ("pin_id", texts(keys.iter().map(String::as_str))),
        ("embedding", vectors(embeddings)),
    ];
    columns(file, named);
}

/// Writes the usual actions as those of `users`, on pins with keys.
pub(crate) fn write_actions(file: &Path, users: ArrayRef) {
    let actions = actions();
    let pins: Vec<String> = actions.iter().map(|action| pin_key(action.pin)).collect();
    let named = vec![
        ("user_id", users),
        ("pin_id", texts(pins.iter().map(String::as_str))),
        ("time", ids(actions.iter().map(|action| action.time))),
    ];
    columns(file, named);
}
