//! A round trip, and every way in which a snapshot can be wrong.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::names::{CURRENT, MANIFEST};
use super::*;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Note {
    text: String,
}

impl ManifestFacts for Note {
    const FORMAT: &'static str = "pinnersage-note/1";

    type Before = Self;
}

#[derive(Debug, Serialize, Deserialize)]
struct Other {}

impl ManifestFacts for Other {
    const FORMAT: &'static str = "pinnersage-other/1";

    type Before = Self;
}

fn write(root: &Path, text: &str) -> SnapshotManifest<Note> {
    let mut writer = Writer::create(root).expect("a directory");
    writer
        .write("numbers.bin", &[1, 0, 0, 0, 2, 0, 0, 0])
        .expect("a file");
    fs::write(writer.scratch().expect("scratch").join("spill"), "x").expect("a spill");
    writer
        .finish(Note {
            text: text.to_owned(),
        })
        .expect("a version")
}

fn error(root: &Path) -> String {
    let opened =
        Reader::<Note>::open(root).and_then(|reader| reader.read_all_records::<u32>("numbers.bin"));
    opened.expect_err("must be refused").to_string()
}

#[test]
fn the_current_version_is_read_back_and_an_old_one_by_its_own_path() {
    let root = tempfile::tempdir().expect("a directory");
    let first = write(root.path(), "first");
    let second = write(root.path(), "second");
    assert_ne!(first.version, second.version);
    let reader = Reader::<Note>::open(root.path()).expect("a snapshot");
    assert_eq!(*reader.manifest(), second);
    assert_eq!(
        reader
            .read_records::<u32>("numbers.bin", 2)
            .expect("numbers"),
        [1, 2]
    );
    let old = Reader::<Note>::open(&root.path().join(&first.version)).expect("a snapshot");
    assert_eq!(old.into_manifest(), first);
    // The same contents are the same version, and nothing is left beside.
    assert_eq!(write(root.path(), "first"), first);
    let mut names: Vec<_> = fs::read_dir(root.path())
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("a name")
        })
        .collect();
    names.sort();
    let mut expected = [CURRENT.to_owned(), first.version, second.version];
    expected.sort();
    assert_eq!(names, expected);
}

#[test]
fn what_is_damaged_is_refused_by_name() {
    let root = tempfile::tempdir().expect("a directory");
    assert!(error(root.path()).contains("no snapshot was written here"));
    let version = root.path().join(write(root.path(), "text").version);
    let (numbers, manifest) = (version.join("numbers.bin"), version.join(MANIFEST));

    fs::write(&numbers, [1, 0, 0, 0, 3, 0, 0, 0]).expect("a flipped bit");
    assert!(error(root.path()).ends_with("numbers.bin: damaged: the checksum does not match"));
    fs::write(&numbers, [1, 0, 0, 0, 2, 0]).expect("a short file");
    assert!(error(root.path()).contains("numbers.bin: damaged: has 6 bytes, the manifest says 8"));
    fs::remove_file(&numbers).expect("a missing file");
    assert!(error(root.path()).contains("numbers.bin: No such file"));

    let text = fs::read_to_string(&manifest).expect("a manifest");
    fs::write(&manifest, text.replace("text\": \"text", "text\": \"test")).expect("a flipped bit");
    assert!(error(root.path()).contains("manifest.json: damaged: its version does not match"));
    fs::write(&manifest, &text[..text.len() / 2]).expect("half a manifest");
    assert!(error(root.path()).contains("manifest.json: damaged: EOF"));
    fs::write(root.path().join(CURRENT), "../elsewhere").expect("a bad pointer");
    assert!(error(root.path()).contains("CURRENT: damaged"));
}

#[test]
fn writing_the_same_again_repairs_what_is_damaged() {
    let root = tempfile::tempdir().expect("a directory");
    let numbers = root
        .path()
        .join(write(root.path(), "text").version)
        .join("numbers.bin");
    fs::write(&numbers, [1, 0, 0, 0, 3, 0, 0, 0]).expect("a flipped bit");
    error(root.path());
    write(root.path(), "text");
    let reader = Reader::<Note>::open(root.path()).expect("a snapshot");
    reader.check_files().expect("intact files");
    assert_eq!(fs::read_dir(root.path()).expect("a directory").count(), 2);
}

#[test]
fn facts_keep_every_bit_of_their_floats() {
    #[derive(Serialize, Deserialize)]
    struct Half {
        lambda: f64,
    }
    impl ManifestFacts for Half {
        const FORMAT: &'static str = "pinnersage-half/1";

        type Before = Self;
    }
    let root = tempfile::tempdir().expect("a directory");
    for days in 1..200 {
        let lambda = std::f64::consts::LN_2 / f64::from(days);
        let writer = Writer::create(root.path()).expect("a directory");
        writer.finish(Half { lambda }).expect("a version");
        let reader = Reader::<Half>::open(root.path()).expect("what was written");
        assert_eq!(reader.manifest().facts.lambda.to_bits(), lambda.to_bits());
    }
}

#[test]
fn another_kind_of_snapshot_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    write(root.path(), "text");
    let error = Reader::<Other>::open(root.path())
        .expect_err("another kind")
        .to_string();
    assert!(
        error.contains(r#"is a "pinnersage-note/1", not a "pinnersage-other/1""#),
        "{error}"
    );
    let reader = Reader::<Note>::open(root.path()).expect("a snapshot");
    assert!(reader.read_all_records::<u64>("numbers.bin").is_ok());
    assert!(reader.read_records::<u32>("numbers.bin", 3).is_err());
    assert!(reader.read_all_records::<[u8; 3]>("numbers.bin").is_err());
}

#[test]
fn a_writer_that_is_dropped_leaves_nothing() {
    let root = tempfile::tempdir().expect("a directory");
    let mut writer = Writer::create(root.path()).expect("a directory");
    writer.write("numbers.bin", &[0; 8]).expect("a file");
    drop(writer);
    assert_eq!(fs::read_dir(root.path()).expect("a directory").count(), 0);
}
