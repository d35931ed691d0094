//! Blocks of users that were replayed, kept in a directory: a replay that was stopped
//! goes on with the others.
//!
//! `parameters.json` says what is replayed and how, and a directory of another replay is
//! refused; `block-<number>` is what became of the users of one block, behind the
//! checksum of it. Files are complete or not there.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::replay::Replayed;
use super::{EvaluateError, EvaluateParams};
use crate::cluster::Params;
use crate::snapshot::{SnapshotError, replace_file};

const PARAMETERS: &str = "parameters.json";

/// What became of the users of one block.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Block {
    pub(super) users: Vec<Replayed>,
    /// By model: what was recommended to any of them.
    pub(super) covered: Vec<Vec<(u32, u64)>>,
}

/// Where blocks are kept.
#[derive(Debug)]
pub(super) struct Checkpoint(PathBuf);

impl Checkpoint {
    /// Takes `directory`, which is empty, not there, or that of the replay of
    /// `parameters`.
    pub(super) fn open(
        directory: &Path,
        parameters: &Map<String, Value>,
    ) -> Result<Self, EvaluateError> {
        fs::create_dir_all(directory).map_err(SnapshotError::io(directory))?;
        let path = directory.join(PARAMETERS);
        match read_if_there(&path)? {
            Some(bytes) => {
                let kept: Map<String, Value> = serde_json::from_slice(&bytes)
                    .map_err(|error| SnapshotError::damaged(&path, error.to_string()))?;
                same(directory, &kept, parameters)?;
            }
            None => {
                check_empty(directory)?;
                let mut text =
                    serde_json::to_vec_pretty(parameters).expect("numbers and texts are JSON");
                text.push(b'\n');
                replace_file(&path, &text)?;
            }
        }
        Ok(Self(directory.to_owned()))
    }

    /// The block `number`; none where it was not replayed.
    pub(super) fn read(&self, number: usize) -> Result<Option<Block>, EvaluateError> {
        let path = self.path(number);
        let Some(bytes) = read_if_there(&path)? else {
            return Ok(None);
        };
        let damaged = |reason: &str| SnapshotError::damaged(&path, reason);
        let (sum, text) = bytes
            .split_first_chunk()
            .ok_or_else(|| damaged("too short"))?;
        if u128::from_le_bytes(*sum) != xxh3_128(text) {
            return Err(damaged("checksum differs").into());
        }
        let block = serde_json::from_slice(text).map_err(|e| damaged(&e.to_string()))?;
        Ok(Some(block))
    }

    /// Keeps the block `number`.
    pub(super) fn write(&self, number: usize, block: &Block) -> Result<(), EvaluateError> {
        let text = serde_json::to_vec(block).expect("numbers and texts are JSON");
        let mut bytes = xxh3_128(&text).to_le_bytes().to_vec();
        bytes.extend(text);
        Ok(replace_file(&self.path(number), &bytes)?)
    }

    fn path(&self, number: usize) -> PathBuf {
        self.0.join(format!("block-{number:06}"))
    }
}

/// All that decides what becomes of a block, and which users are in it.
pub(super) fn parameters(
    files: &[PathBuf],
    catalog: &str,
    params: &EvaluateParams,
    details: bool,
) -> Result<Map<String, Value>, EvaluateError> {
    let EvaluateParams {
        from,
        to,
        every_days,
        horizon_days,
        window_days,
        cluster: Params {
            alpha,
            lambda_per_day,
        },
        max_actions,
        folded: (positive, clustered),
        action_weights,
        popularity,
        repeats,
        models,
        limit,
        relevant,
        ef_search,
        users,
        seed,
        memory,
    } = params;
    let models: Vec<String> = models.iter().map(ToString::to_string).collect();
    let actions: Vec<String> = files
        .iter()
        .map(|path| sum(path))
        .collect::<Result<_, _>>()?;
    let Value::Object(parameters) = json!({
        "program": env!("CARGO_PKG_VERSION"),
        "actions": actions,
        "catalog": catalog,
        "from": from,
        "to": to,
        "every": every_days,
        "horizon": horizon_days,
        "window_days": window_days,
        "alpha": alpha,
        "lambda_per_day": lambda_per_day,
        "max_actions": max_actions,
        "positive": positive,
        "clustered": clustered,
        "action_weights": action_weights,
        "popularity": popularity,
        "repeats": repeats,
        "models": models,
        "limit": limit,
        "relevant": relevant,
        "ef_search": ef_search,
        "users": users,
        "seed": seed,
        "memory": memory,
        "details": details,
    }) else {
        unreachable!("it is written as an object")
    };
    Ok(parameters)
}

/// Length and checksum of a file.
fn sum(path: &Path) -> Result<String, SnapshotError> {
    let read = || {
        let mut file = File::open(path)?;
        let (mut hash, mut bytes, mut buffer) = (Xxh3::new(), 0, vec![0; 1 << 18]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(format!("{bytes} bytes, xxh3 {:032x}", hash.digest128())),
                read => {
                    hash.update(&buffer[..read]);
                    bytes += read;
                }
            }
        }
    };
    read().map_err(SnapshotError::io(path))
}

/// Refuses what was kept with other parameters.
fn same(
    directory: &Path,
    kept: &Map<String, Value>,
    asked: &Map<String, Value>,
) -> Result<(), EvaluateError> {
    let keys = kept.keys().chain(asked.keys());
    let mut differing = keys.filter(|&key| kept.get(key) != asked.get(key));
    let Some(key) = differing.next() else {
        return Ok(());
    };
    let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    Err(EvaluateError::OtherReplay {
        directory: directory.to_owned(),
        key: key.clone(),
        kept: text(kept.get(key)),
        asked: text(asked.get(key)),
    })
}

fn check_empty(directory: &Path) -> Result<(), EvaluateError> {
    for entry in fs::read_dir(directory).map_err(SnapshotError::io(directory))? {
        let entry = entry.map_err(SnapshotError::io(directory))?;
        // Side names are left by a process that was killed right there.
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            return Err(EvaluateError::NoReplay(directory.to_owned()));
        }
    }
    Ok(())
}

fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, SnapshotError> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(SnapshotError::io(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::measures::Tally;
    use crate::model::UserId;

    #[test]
    fn a_block_comes_back_to_the_bit_and_a_damaged_one_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let kept = Checkpoint::open(directory.path(), &Map::new()).expect("kept");
        assert!(kept.read(3).expect("nothing").is_none());
        let replayed = Replayed {
            user: UserId(u64::MAX),
            activity: 1.0 / 3.0,
            tallies: vec![Tally {
                diversity: 0.1 + 0.2,
                reciprocal: f64::MIN_POSITIVE,
                ..Tally::default()
            }],
            lines: "{\"a\": 1}\n".to_owned(),
        };
        let block = Block {
            users: vec![replayed.clone()],
            covered: vec![vec![(7, u64::MAX)]],
        };
        kept.write(3, &block).expect("written");
        let read = kept.read(3).expect("read").expect("there");
        assert_eq!(
            (&read.users, &read.covered),
            (&vec![replayed], &block.covered)
        );

        let path = directory.path().join("block-000003");
        let mut bytes = fs::read(&path).expect("bytes");
        bytes[30] ^= 1;
        fs::write(&path, &bytes).expect("written");
        let error = kept.read(3).expect_err("damaged").to_string();
        assert!(error.contains("block-000003: damaged"), "{error}");
    }

    #[test]
    fn a_directory_of_something_else_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        fs::write(directory.path().join("letter.txt"), "dear").expect("written");
        let error = Checkpoint::open(directory.path(), &Map::new()).expect_err("refused");
        assert!(error.to_string().contains("holds no replay"), "{error}");
    }
}
