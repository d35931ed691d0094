//! Readers of files and messages under damage, for `tests/it/fuzz.rs` and for `cargo fuzz`.
//!
//! A target says whether its reader accepts what is in a directory. What a reader accepts
//! must be of use without a panic, and must hold what its documentation promises. The
//! bytes start from `tests/corpus/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytesize::ByteSize;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use pinnersage::durable::{
    ActionFrame, FrameId, Log, Message, Origin, PinRecord, Position, UserDigest, decode_message,
    encode_message,
};
use pinnersage::index::{
    AttributeTable, Catalog, FilterParams, Filtered, Index, NeighborLists, NeighborParams,
};
use pinnersage::model::{
    Action, ActionId, ActionKeys, AttributeDefinition, AttributeValue, Condition, Filter, Medoid,
    Neighbor, PinAttributes, PinId, Range, Test, Timestamp, UserId,
};
use pinnersage::recommend::Retrieve;
use pinnersage::snapshot::FileEntry;
use pinnersage::store::{ProfileStore, ProfilesReader};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

/// Bytes of one edit in an input, see [`damage`].
pub const EDIT: usize = 6;

/// Changes `bytes` in one of the ways in which parsers are caught.
pub fn damage(bytes: &mut Vec<u8>, edit: [u8; EDIT]) {
    let [kind, low, high, operands @ ..] = edit;
    let at = usize::from(u16::from_le_bytes([low, high])) % (bytes.len() + 1);
    let rest = bytes.len() - at;
    match kind % 6 {
        0 => bytes.truncate(at),
        1 => bytes.insert(at, operands[0]),
        2 if rest > 0 => bytes[at] ^= 1 << (operands[0] % 8),
        3 if rest >= 8 => {
            let limit = LIMITS[usize::from(operands[0]) % LIMITS.len()];
            let width = 1 << (operands[1] % 4);
            bytes[at..at + width].copy_from_slice(&limit.to_le_bytes()[..width]);
        }
        4 => {
            let copied = bytes[at..at + rest.min(usize::from(operands[0]) % 64)].to_vec();
            let target = usize::from(u16::from_le_bytes([operands[1], operands[2]]));
            let target = target % (bytes.len() + 1);
            bytes.splice(target..target, copied);
        }
        _ => {
            let end = at + rest.min(operands.len());
            bytes[at..end].copy_from_slice(&operands[..end - at]);
        }
    }
}

/// Lengths, counts and offsets at their limits.
const LIMITS: [u64; 6] = [0, 1, u64::MAX, i64::MAX as u64, 1 << 32, u32::MAX as u64];

/// A part of what a reader reads, damaged.
#[derive(Debug)]
pub struct Damaged {
    /// Number of the part.
    pub part: usize,
    /// What takes its place.
    pub bytes: Vec<u8>,
}

impl Damaged {
    /// Damages one of `parts`: the first byte of `input` chooses it, the others are edits.
    pub fn new(parts: &[Vec<u8>], input: &[u8]) -> Option<Self> {
        let (&part, edits) = input.split_first()?;
        let part = usize::from(part) % parts.len();
        let mut bytes = parts[part].clone();
        let (edits, _) = edits.as_chunks::<EDIT>();
        edits.iter().for_each(|&edit| damage(&mut bytes, edit));
        Some(Self { part, bytes })
    }
}

/// One version of a snapshot in memory, of whatever format. Its parts are its files and
/// the facts in its manifest.
#[derive(Debug)]
pub struct Version {
    format: String,
    entries: Vec<FileEntry>,
    /// The contents of the files, then the facts as JSON without white space.
    parts: Vec<Vec<u8>>,
}

impl Version {
    /// Reads the version in `directory`.
    pub fn read(directory: &Path) -> Self {
        #[derive(serde::Deserialize)]
        struct Manifest {
            format: String,
            files: Vec<FileEntry>,
        }
        let text = fs::read_to_string(directory.join("manifest.json")).expect("a manifest");
        let Manifest { format, files } = serde_json::from_str(&text).expect("a manifest");
        let read = |file: &FileEntry| fs::read(directory.join(&file.name)).expect("a file");
        let mut parts: Vec<Vec<u8>> = files.iter().map(read).collect();
        parts.push(facts_of(&text).into_bytes());
        Self {
            format,
            entries: files,
            parts,
        }
    }

    /// The format that the manifest states.
    pub fn format(&self) -> &str {
        &self.format
    }

    /// Names of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }

    /// The parts that can be damaged.
    pub fn parts(&self) -> &[Vec<u8>] {
        &self.parts
    }

    /// Writes the version with a damaged part, and with checksums that fit it.
    pub fn write_with(&self, directory: &Path, damaged: &Damaged) {
        let mut entries = self.entries.clone();
        let mut parts: Vec<&[u8]> = self.parts.iter().map(Vec::as_slice).collect();
        parts[damaged.part] = &damaged.bytes;
        for (entry, contents) in entries.iter_mut().zip(&parts) {
            entry.bytes = contents.len() as u64;
            entry.xxh3 = format!("{:032x}", xxh3_128(contents));
            let path = directory.join(&entry.name);
            // Most files stay as they are from one round to the next.
            if fs::read(&path).ok().as_deref() != Some(*contents) {
                fs::write(path, contents).expect("a disk");
            }
        }
        let manifest = self.manifest(&entries, &String::from_utf8_lossy(parts[entries.len()]));
        fs::write(directory.join("manifest.json"), manifest).expect("a disk");
    }

    /// A manifest whose version fits its facts and files.
    fn manifest(&self, entries: &[FileEntry], facts: &str) -> String {
        let format = serde_json::to_string(&self.format).expect("JSON");
        let files = serde_json::to_string(entries).expect("JSON");
        let version = xxh3_64(format!("[{format},{facts},{files}]").as_bytes());
        format!(
            r#"{{"format":{format},"version":"{version:016x}","facts":{facts},"files":{files}}}"#
        )
    }
}

/// The facts of a manifest, without white space.
fn facts_of(manifest: &str) -> String {
    let (mut compact, mut is_in_string, mut is_escaped) = (String::new(), false, false);
    for character in manifest.chars() {
        if is_in_string || !character.is_ascii_whitespace() {
            compact.push(character);
        }
        is_in_string ^= character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
    }
    let (_, facts) = compact.split_once(r#""facts":"#).expect("facts");
    let (facts, _) = facts.rsplit_once(r#","files":["#).expect("files");
    facts.to_owned()
}

/// Opens a catalog, searches its graph, and asks for what filters select.
pub fn is_catalog_accepted(directory: &Path) -> bool {
    const K: usize = 10;
    let Ok(catalog) = Catalog::open(directory) else {
        return false;
    };
    let ids = catalog.pins.ids();
    assert!(ids.is_sorted_by(|a, b| a < b), "ids do not ascend");
    let no_lists = NeighborLists::open(Path::new("/nowhere"), "v").expect("no lists");
    let params = NeighborParams {
        depth: 20,
        budget: ByteSize::b(0),
        cache: ByteSize::b(0),
    };
    let catalog = Arc::new(catalog);
    let filters = FilterParams {
        cache: ByteSize::b(0),
    };
    let index = Index::new(catalog.clone(), no_lists, 20, params, filters);
    for &pin in catalog.pins.ids().iter().step_by(9) {
        let found = index.neighbors_of(pin, K, &|_| true);
        assert!(found.len() <= K, "{} neighbors of {K}", found.len());
        let is_known = |pin: PinId| catalog.pins.position(pin).is_some();
        assert!(found.iter().all(|neighbor| is_known(neighbor.pin)));
        // Titles may be anything, but not out of bounds.
        let _ = catalog.pins.title(pin);
    }
    try_filters(&index);
    true
}

/// Searches with filters on all attributes of a catalog, of its type and of others.
fn try_filters(index: &Index) {
    const K: usize = 10;
    let Catalog {
        pins, attributes, ..
    } = &**index.catalog();
    for filter in filters_on(attributes, pins.ids().len()) {
        // What is damaged may say so.
        let Ok(selection) = index.select(&filter) else {
            continue;
        };
        let filtered = Filtered {
            index,
            selection: &selection,
        };
        assert!(selection.pins() <= pins.ids().len());
        let middle = pins.ids()[pins.ids().len() / 2];
        let found = filtered.neighbors_of(middle, K, &|_| true);
        assert!(found.len() <= K, "{} neighbors of {K}", found.len());
        let is_selected = |neighbor: &Neighbor| selection.selects(neighbor.pin, pins);
        assert!(found.iter().all(is_selected));
    }
}

/// For each attribute a filter with each test, and one with all of them that no pin may
/// meet. The words are those of the first `count` pins.
fn filters_on(attributes: &AttributeTable, count: usize) -> Vec<Filter> {
    let mut words = vec!["a word that no pin has".to_owned()];
    let mut price = 0.0;
    for position in 0..count {
        for (_, value) in attributes.of_pin(position).iter() {
            match value {
                AttributeValue::Words(own) => words.extend_from_slice(own),
                AttributeValue::Number(number) => price = *number,
                AttributeValue::Bool(_) => {}
            }
        }
    }
    let range = Range {
        gt: Some(0.5),
        lte: Some(price),
        ..Range::default()
    };
    let tests = [
        Test::AnyOf(words),
        Test::Range(range),
        Test::Is(true),
        Test::Exists(true),
        Test::Exists(false),
    ];
    let mut filters = Vec::new();
    for AttributeDefinition { name, .. } in attributes.definitions() {
        let condition = |test: &Test| Condition {
            attribute: name.clone(),
            test: test.clone(),
        };
        filters.extend(tests.iter().map(|test| Filter {
            must: vec![condition(test)],
            must_not: Vec::new(),
        }));
        filters.push(Filter {
            must: Vec::new(),
            must_not: tests[..3].iter().map(condition).collect(),
        });
    }
    filters
}

/// Opens profiles, and reads all of every user.
pub fn are_profiles_accepted(directory: &Path) -> bool {
    let Ok(reader) = ProfilesReader::open(directory) else {
        return false;
    };
    let is_valid = |medoid: &Medoid| medoid.importance.is_finite() && medoid.importance > 0.0;
    let store = ProfileStore::open(directory).expect("profiles that were just accepted");
    let mut last = None;
    for (user, profile) in reader.iter() {
        assert!(last < Some(user), "users do not ascend");
        last = Some(user);
        assert!(!profile.medoids.is_empty() || !profile.hidden.is_empty());
        assert!(profile.medoids.iter().all(is_valid));
        let mut identities = profile.identities.iter();
        assert!(identities.all(|&identity| profile.has_action(identity)));
        let stored = store.get(user).expect("a user of the same files");
        assert_eq!(stored.medoids, profile.medoids);
        if let Some(history) = stored.history() {
            // The answers may be anything, but not out of bounds.
            let _ = (0..50).filter(|&pin| history.contains(PinId(pin))).count();
        }
    }
    assert!(store.popular().iter().all(is_valid));
    true
}

/// Opens a log, and reads all of it.
pub fn is_log_accepted(directory: &Path) -> bool {
    let Ok((log, _)) = Log::open(directory) else {
        return false;
    };
    let mut actions = 0;
    let are_read = log.for_each(|_| actions += 1);
    let pins = log.pin_changes();
    if let Ok(pins) = &pins {
        assert!(pins.is_sorted_by(|(a, _), (b, _)| a < b));
        let is_vector = |record: &PinRecord| match record {
            PinRecord::Upserted { vector, .. } => vector.len() <= 1 << 20,
            PinRecord::Deleted => true,
        };
        assert!(pins.iter().all(|(_, record)| is_vector(record)));
    }
    are_read.is_ok() && pins.is_ok() && actions > 0
}

/// A log in memory, to be written with damage.
#[derive(Debug)]
pub struct LogFiles {
    /// Paths below the directory of the log.
    names: Vec<PathBuf>,
    files: Vec<Vec<u8>>,
}

impl LogFiles {
    /// Reads the log in `directory`.
    pub fn read(directory: &Path) -> Self {
        let paths = files_below(directory);
        let name = |path: &PathBuf| path.strip_prefix(directory).map(Path::to_owned);
        let names = paths.iter().map(name).collect::<Result<_, _>>();
        Self {
            names: names.expect("paths below the directory"),
            files: paths
                .iter()
                .map(|path| fs::read(path).expect("a file"))
                .collect(),
        }
    }

    /// The files that can be damaged.
    pub fn files(&self) -> &[Vec<u8>] {
        &self.files
    }

    /// Writes the log in place of what is in `directory`.
    pub fn write(&self, directory: &Path) {
        if directory.exists() {
            fs::remove_dir_all(directory).expect("a disk");
        }
        for (name, bytes) in self.names.iter().zip(&self.files) {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().expect("a directory")).expect("a disk");
            fs::write(path, bytes).expect("a disk");
        }
    }

    /// The same with a damaged file, whose name it returns.
    pub fn write_with(&self, directory: &Path, damaged: &Damaged) -> &Path {
        self.write(directory);
        let name = &self.names[damaged.part];
        fs::write(directory.join(name), &damaged.bytes).expect("a disk");
        name
    }
}

/// The first records of each kind in a log, below its checks: the store makes checksums
/// that fit whatever is put into it.
#[derive(Debug)]
pub struct LogRecords {
    keys: Vec<RecordKey>,
    values: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct RecordKey {
    /// Name of the keyspace in the store.
    keyspace: &'static str,
    key: Vec<u8>,
}

impl LogRecords {
    const KEYSPACES: [&str; 2] = ["actions", "pins"];
    const OF_EACH: usize = 4;

    /// Reads records of the log in `directory`.
    pub fn read(directory: &Path) -> Self {
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        let store = open_store(directory);
        for keyspace in Self::KEYSPACES {
            for record in open_keyspace(&store, keyspace).iter().take(Self::OF_EACH) {
                let (key, value) = record.into_inner().expect("a record");
                let key = key.to_vec();
                keys.push(RecordKey { keyspace, key });
                values.push(value.to_vec());
            }
        }
        Self { keys, values }
    }

    /// The values that can be damaged.
    pub fn values(&self) -> &[Vec<u8>] {
        &self.values
    }

    /// Writes a damaged value into the log in `directory`.
    pub fn write_with(&self, directory: &Path, damaged: &Damaged) {
        let store = open_store(directory);
        let RecordKey { keyspace, key } = &self.keys[damaged.part];
        let inserted = open_keyspace(&store, keyspace).insert(key, &damaged.bytes);
        inserted.expect("a disk");
        store.persist(PersistMode::Buffer).expect("a disk");
    }
}

/// Messages of a shared log, some of each kind, without the checksum at their end.
pub fn messages() -> Vec<Vec<u8>> {
    let keys = ActionKeys {
        user: Some("tea".to_owned()),
        ..ActionKeys::default()
    };
    let action = |at: u8| Action {
        id: ActionId([at; 16]),
        user: UserId(u64::from(at / 2)),
        pin: PinId(u64::from(at)),
        name: if at < 2 { "save" } else { "hide" }.to_owned(),
        time: Timestamp::from_micros(i64::from(at / 3)),
        medoid: (at > 0).then_some(PinId(5)),
        keys: (at == 3).then(|| Box::new(keys.clone())),
    };
    let origin = Origin {
        position: Position {
            stream: 2,
            sequence: 9,
        },
        places: vec![0, 2, 3, 7],
    };
    let frame = |origin| {
        Message::Actions(ActionFrame {
            frame: FrameId([7; 16]),
            recorded_at: Timestamp::from_micros(8),
            is_kept: true,
            origin,
            actions: (0..4).map(action).collect(),
        })
    };
    let upserted = |attributes| PinRecord::Upserted {
        embedding_version: "model-1".to_owned(),
        vector: vec![0.6, -0.8],
        title: "a pin".to_owned(),
        key: "tea".to_owned(),
        attributes,
    };
    let attributes = [
        ("price", AttributeValue::Number(3.5)),
        ("safe", AttributeValue::Bool(true)),
        (
            "countries",
            AttributeValue::words(vec!["DE".to_owned(), "AT".to_owned()]),
        ),
    ];
    let attributes = attributes.map(|(name, value)| (name.to_owned(), value));
    let erasure = Message::Erasure {
        user: UserDigest([3; 16]),
        erased_at: Timestamp::from_micros(4),
    };
    let all = [
        frame(None),
        frame(Some(origin)),
        Message::Pin((PinId(1), upserted(PinAttributes::default()))),
        Message::Pin((PinId(3), upserted(PinAttributes::new(attributes)))),
        Message::Pin((PinId(2), PinRecord::Deleted)),
        erasure,
        Message::ArchiveClaim(vec![1; 40]),
    ];
    let encoded = all.iter().filter_map(encode_message);
    let without_checksum = encoded.map(|mut bytes| {
        bytes.truncate(bytes.len() - 8);
        bytes
    });
    without_checksum.collect()
}

/// Reads a message, with a checksum that fits, and writes again what it says.
pub fn is_message_accepted(bytes: &[u8]) -> bool {
    let checksum = xxh3_64(bytes).to_le_bytes();
    let Ok(message) = decode_message(&[bytes, &checksum].concat()) else {
        return false;
    };
    let again = encode_message(&message).expect("a message that stands in a log");
    let read = decode_message(&again).expect("what was written");
    // Components of a vector may be no numbers, which equal nothing.
    assert_eq!(encode_message(&read), Some(again));
    true
}

fn open_store(directory: &Path) -> Database {
    let store = Database::builder(directory.join("log")).open();
    store.expect("a store")
}

fn open_keyspace(store: &Database, name: &str) -> Keyspace {
    let keyspace = store.keyspace(name, KeyspaceCreateOptions::default);
    keyspace.expect("a keyspace")
}

/// All files below a directory, in order.
pub fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(directory).expect("a directory");
    for entry in entries.map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            found.extend(files_below(&entry));
        } else {
            found.push(entry);
        }
    }
    found.sort();
    found
}

/// The folders of the corpus that hold files of one format each, oldest first.
pub fn formats(corpus: &Path) -> Vec<PathBuf> {
    let number = |path: &PathBuf| -> Option<u32> {
        let name = path.file_name()?.to_str()?;
        name.strip_prefix("format-")?.parse().ok()
    };
    let entries = fs::read_dir(corpus).expect("a corpus");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut formats: Vec<PathBuf> = paths.filter(|path| number(path).is_some()).collect();
    formats.sort_by_key(number);
    formats
}

/// The folder of the corpus with files of the newest format.
pub fn newest_format(corpus: &Path) -> PathBuf {
    formats(corpus).pop().expect("a format")
}
