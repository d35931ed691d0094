//! Hostile bytes, a bounded number of them from a fixed seed: requests of nine methods,
//! files of a catalog and of profiles whose checksums were made to fit, and the
//! action log. Nothing panics, and nothing says INTERNAL.
//!
//! `FUZZ_ROUNDS=100000 cargo test --release --test it fuzz` goes on for longer. Requests
//! start from `tests/corpus/`, files from what a build writes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::common;
use crate::common::World;
use crate::common::raw::Raw;
use crate::common::server::{NOW, Server, save, source};
use bytesize::ByteSize;
use pinnersage::durable::Log;
use pinnersage::index::{Catalog, CatalogManifest, Index, NeighborLists, NeighborParams};
use pinnersage::model::UserId;
use pinnersage::recommend::Retrieve;
use pinnersage::serve::{Loaded, ServingSource};
use pinnersage::snapshot::{ManifestFacts, SnapshotManifest};
use pinnersage::store::{ProfileManifest, ProfileStore};
use prost::bytes::Bytes;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};
use tonic::client::Grpc;
use tonic::{Code, Request};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Methods and the messages of the corpus that are theirs.
const METHODS: [(&str, &str); 9] = [
    ("RecommendationService/Recommend", "recommend"),
    ("RecommendationService/BatchRecommend", "batch_recommend"),
    ("RecommendationService/ExplainUser", "explain_user"),
    ("ActionService/RecordActions", "record_actions"),
    ("CatalogService/UpsertPins", "upsert_pins"),
    ("CatalogService/DeletePins", "delete_pins"),
    ("CatalogService/ListChanges", "list_changes"),
    ("AdminService/LoadVersions", "load_versions"),
    ("AdminService/GetStatus", "empty"),
];

fn rounds(usual: usize) -> usize {
    let wanted = std::env::var("FUZZ_ROUNDS").ok();
    wanted
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(usual)
}

/// Changes `bytes` in one of the ways in which parsers are caught.
fn damage(bytes: &mut Vec<u8>, rng: &mut ChaCha8Rng) {
    let place = rng.random_range(0..=bytes.len());
    match rng.random_range(0..6) {
        0 => bytes.truncate(place),
        1 => bytes.insert(place, rng.random()),
        2 if place < bytes.len() => bytes[place] ^= 1 << rng.random_range(0..8),
        // Lengths, counts and offsets at their limits.
        3 if place + 8 <= bytes.len() => {
            let limits = [
                0,
                1,
                u64::MAX,
                i64::MAX as u64,
                1 << 32,
                u64::from(u32::MAX),
            ];
            let limit = limits[rng.random_range(0..limits.len())];
            let width = [1, 2, 4, 8][rng.random_range(0..4)];
            bytes[place..place + width].copy_from_slice(&limit.to_le_bytes()[..width]);
        }
        4 => {
            let end = rng.random_range(place..=bytes.len().min(place + 64));
            let copy = bytes[place..end].to_vec();
            let target = rng.random_range(0..=bytes.len());
            bytes.splice(target..target, copy);
        }
        _ => {
            let mut noise = [0; 8];
            rng.fill_bytes(&mut noise);
            let end = bytes.len().min(place + noise.len());
            bytes[place..end].copy_from_slice(&noise[..end - place]);
        }
    }
}

#[tokio::test]
async fn no_request_of_any_method_is_an_internal_error() {
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let rng = &mut ChaCha8Rng::seed_from_u64(1);
    let mut client = Grpc::new(server.channel().await);
    for (method, name) in METHODS {
        let seed = fs::read(corpus.join(format!("{name}.bin"))).expect("a corpus");
        for _ in 0..rounds(600) {
            let mut bytes = seed.clone();
            for _ in 0..rng.random_range(0..4) {
                damage(&mut bytes, rng);
            }
            client.ready().await.expect("a connection");
            let request = Request::new(Bytes::from(bytes.clone()));
            let path = format!("/pinnersage.v1.{method}").parse().expect("a path");
            let answer = client.unary(request, path, Raw).await;
            if let Err(status) = answer {
                let mended_by_caller = [
                    Code::InvalidArgument,
                    Code::FailedPrecondition,
                    Code::NotFound,
                    Code::ResourceExhausted,
                ];
                assert!(
                    mended_by_caller.contains(&status.code()),
                    "{method} {bytes:?}: {status:?}"
                );
            }
        }
    }
    server.stop().await.expect("a clean end");
}

/// A version of a snapshot in memory, to be damaged.
struct Version<F> {
    manifest: SnapshotManifest<F>,
    files: Vec<Vec<u8>>,
}

impl<F: ManifestFacts> Version<F> {
    fn read(path: &Path) -> Self {
        let manifest = fs::read(path.join("manifest.json")).expect("a manifest");
        let manifest: SnapshotManifest<F> = serde_json::from_slice(&manifest).expect("a manifest");
        let files = manifest.files.iter();
        let files = files.map(|file| fs::read(path.join(&file.name)).expect("a file"));
        let files = files.collect();
        Self { manifest, files }
    }

    /// Writes it with one file damaged, and checksums that fit.
    fn write_damaged(&mut self, path: &Path, rng: &mut ChaCha8Rng) -> String {
        let at = rng.random_range(0..self.files.len());
        let mut damaged = self.files[at].clone();
        for _ in 0..rng.random_range(1..4) {
            damage(&mut damaged, rng);
        }
        let mut entries = self.manifest.files.clone();
        entries[at].bytes = damaged.len() as u64;
        entries[at].xxh3 = format!("{:032x}", xxh3_128(&damaged));
        let named = serde_json::to_vec(&(F::FORMAT, &self.manifest.facts, &entries));
        let version = format!("{:016x}", xxh3_64(&named.expect("JSON")));
        let name = entries[at].name.clone();
        let whole = std::mem::replace(&mut self.manifest.files, entries);
        self.manifest.version = version;
        let manifest = serde_json::to_vec(&self.manifest).expect("JSON");
        self.manifest.files = whole;
        for (entry, bytes) in self.manifest.files.iter().zip(&self.files) {
            fs::write(path.join(&entry.name), bytes).expect("a disk");
        }
        fs::write(path.join(&name), damaged).expect("a disk");
        fs::write(path.join("manifest.json"), manifest).expect("a disk");
        name
    }
}

/// The only version below `root`.
fn version(root: &Path) -> PathBuf {
    common::version_directory(root)
}

#[test]
fn no_file_of_a_catalog_makes_its_reader_or_a_search_panic() {
    let world = World::built();
    let mut catalog = Version::<CatalogManifest>::read(&version(&world.path("catalog")));
    let directory = world.path("damaged");
    fs::create_dir(&directory).expect("a directory");
    let rng = &mut ChaCha8Rng::seed_from_u64(2);
    let mut opened = 0;
    for _ in 0..rounds(400) {
        catalog.write_damaged(&directory, rng);
        let Ok(catalog) = Catalog::open(&directory) else {
            continue;
        };
        opened += 1;
        let nowhere = NeighborLists::open(Path::new("/nowhere"), "v").expect("no lists");
        let params = NeighborParams {
            depth: 20,
            budget: ByteSize::b(0),
            cache: ByteSize::b(0),
        };
        let catalog = Arc::new(catalog);
        let index = Index::new(catalog.clone(), nowhere, 20, params);
        for &pin in catalog.pins.ids().iter().take(5) {
            index.neighbors_of(pin, 10, &|_| true);
            catalog.pins.title(pin);
        }
    }
    // Vectors and titles may be anything.
    assert!(opened > 0);
}

#[test]
fn no_file_of_profiles_makes_their_reader_or_an_answer_panic() {
    let world = World::built();
    let mut profiles = Version::<ProfileManifest>::read(&version(&world.path("profiles")));
    let directory = world.path("damaged");
    fs::create_dir(&directory).expect("a directory");
    let source = ServingSource {
        profiles: directory.clone(),
        ..source(&world)
    };
    let rng = &mut ChaCha8Rng::seed_from_u64(3);
    let mut opened = 0;
    for _ in 0..rounds(400) {
        profiles.write_damaged(&directory, rng);
        let Ok(store) = ProfileStore::open(&directory) else {
            continue;
        };
        opened += 1;
        for user in 0..common::USERS {
            if let Some(history) = store
                .get(UserId(user))
                .and_then(|profile| profile.history())
            {
                history.contains(pinnersage::model::PinId(user));
            }
        }
        // Warming answers for many users.
        drop(Loaded::open(&source));
    }
    assert!(opened > 0);
}

/// Copies a directory of files.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}

/// All files below `path`, in order.
fn files(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(path).expect("a directory");
    for entry in entries.map(|entry| entry.expect("an entry").path()) {
        match entry.is_dir() {
            true => found.extend(files(&entry)),
            false => found.push(entry),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn no_damage_to_the_action_log_makes_it_panic() {
    use pinnersage::wire::v1;
    let world = World::built();
    let server = Server::start_recording(&world).await;
    let actions = (1..60).map(|at| save(u128::from(at), at, at, NOW));
    let actions = actions.collect();
    let request = v1::RecordActionsRequest { actions };
    let mut client = server.action_client().await;
    client.record_actions(request).await.expect("recorded");
    drop(client);
    server.stop().await.expect("a clean end");
    let rng = &mut ChaCha8Rng::seed_from_u64(4);
    let (whole, damaged) = (world.path("data"), world.path("damaged"));
    let (mut opened, mut refused) = (0, 0);
    for _ in 0..rounds(25) {
        copy(&whole, &damaged);
        let files = files(&damaged);
        let file = &files[rng.random_range(0..files.len())];
        let mut bytes = fs::read(file).expect("a file");
        // Most of a journal is room for what is to come.
        let used = bytes
            .iter()
            .rposition(|&byte| byte != 0)
            .map_or(0, |last| last + 1);
        let mut begin = bytes[..used].to_vec();
        damage(&mut begin, rng);
        bytes.splice(..used, begin);
        fs::write(file, bytes).expect("a disk");
        match Log::open(&damaged) {
            Ok(_) => opened += 1,
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
        fs::remove_dir_all(&damaged).expect("a disk");
    }
    assert!(opened > 0 && refused > 0, "{opened} {refused}");
}
