//! Checkpoints: blocks of replayed users in a directory, so that a replay that was stopped
//! goes on with the other blocks.
//!
//! `parameters.json` holds the parameters of the replay; the directory of another replay
//! is refused. `block-<number>` holds the outcome of the users of one block behind its
//! checksum. Every file is complete or absent.

use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use super::outcome::{Block, DetailLines};
use crate::cluster::Params;
use crate::evaluation::error::EvaluateError;
use crate::evaluation::models::FoldInLimits;
use crate::evaluation::params::{EvaluateParams, ReplayFiles};
use crate::snapshot::{SnapshotError, replace_file};

const PARAMETERS: &str = "parameters.json";

/// A directory of blocks.
#[derive(Debug)]
pub(super) struct Checkpoint(PathBuf);

impl Checkpoint {
    /// Opens `directory`, which is empty, absent, or that of the replay with
    /// `parameters`.
    pub(super) fn open(
        directory: &Path,
        parameters: &Map<String, Value>,
    ) -> Result<Self, EvaluateError> {
        fs::create_dir_all(directory).map_err(SnapshotError::io(directory))?;
        let path = directory.join(PARAMETERS);
        if let Some(bytes) = read_if_present(&path)? {
            let kept: Map<String, Value> = serde_json::from_slice(&bytes)
                .map_err(|error| SnapshotError::damaged(&path, error.to_string()))?;
            check_same(directory, &kept, parameters)?;
        } else {
            check_empty(directory)?;
            let mut text =
                serde_json::to_vec_pretty(parameters).expect("numbers and texts are JSON");
            text.push(b'\n');
            replace_file(&path, &text)?;
        }
        Ok(Self(directory.to_owned()))
    }

    /// Reads block `number`; none when it is not there yet.
    pub(super) fn read(&self, number: usize) -> Result<Option<Block>, EvaluateError> {
        let path = self.path(number);
        let Some(bytes) = read_if_present(&path)? else {
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

    /// Writes block `number`.
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

/// All parameters that decide on the outcome of a block and on its users.
pub(super) fn parameters(
    files: &ReplayFiles<'_>,
    catalog_version: &str,
    params: &EvaluateParams,
    details: DetailLines,
) -> Result<Map<String, Value>, EvaluateError> {
    let actions = files.actions.iter().map(|path| length_and_checksum(path));
    let actions: Vec<String> = actions.collect::<Result<_, _>>()?;
    let Value::Object(mut parameters) = json!({
        "program": env!("CARGO_PKG_VERSION"),
        "actions": actions,
        "catalog": catalog_version,
        "details": details == DetailLines::Written,
    }) else {
        unreachable!("it is written as an object")
    };
    parameters.append(&mut replay_parameters(params));
    Ok(parameters)
}

/// `params` under the names of the command's options and of the settings.
fn replay_parameters(params: &EvaluateParams) -> Map<String, Value> {
    // Named one by one, so that no new parameter is forgotten.
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
        fold_in: FoldInLimits { recent, clustered },
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
        filters,
        rerank,
        timing,
    } = params;
    let models: Vec<String> = models.iter().map(ToString::to_string).collect();
    let Value::Object(parameters) = json!({
        "from": from,
        "to": to,
        "every": every_days,
        "horizon": horizon_days,
        "window_days": window_days,
        "alpha": alpha,
        "lambda_per_day": lambda_per_day,
        "max_actions": max_actions,
        "positive": recent,
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
        "filters": filters,
        "rerank": rerank,
        "timing": timing,
    }) else {
        unreachable!("it is written as an object")
    };
    parameters
}

/// Length and checksum of a file.
fn length_and_checksum(path: &Path) -> Result<String, SnapshotError> {
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

/// Refuses a checkpoint with other parameters.
fn check_same(
    directory: &Path,
    kept: &Map<String, Value>,
    requested: &Map<String, Value>,
) -> Result<(), EvaluateError> {
    let keys = kept.keys().chain(requested.keys());
    let mut differing = keys.filter(|&key| kept.get(key) != requested.get(key));
    let Some(key) = differing.next() else {
        return Ok(());
    };
    let text = |value: Option<&Value>| value.map_or("nothing".to_owned(), Value::to_string);
    Err(EvaluateError::OtherReplay {
        directory: directory.to_owned(),
        key: key.clone(),
        kept: text(kept.get(key)),
        requested: text(requested.get(key)),
    })
}

fn check_empty(directory: &Path) -> Result<(), EvaluateError> {
    for entry in fs::read_dir(directory).map_err(SnapshotError::io(directory))? {
        let entry = entry.map_err(SnapshotError::io(directory))?;
        // A process that was killed while it wrote leaves a hidden file.
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            return Err(EvaluateError::NoReplay(directory.to_owned()));
        }
    }
    Ok(())
}

fn read_if_present(path: &Path) -> Result<Option<Vec<u8>>, SnapshotError> {
    match fs::read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        read => read.map(Some).map_err(SnapshotError::io(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::coverage::CoveredWord;
    use super::super::outcome::ReplayedUser;
    use super::*;
    use crate::evaluation::metrics::MeasureSums;
    use crate::model::UserId;

    #[test]
    fn a_block_comes_back_to_the_bit_and_a_damaged_one_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let checkpoint = Checkpoint::open(directory.path(), &Map::new()).expect("a checkpoint");
        assert!(checkpoint.read(3).expect("nothing").is_none());
        let replayed = ReplayedUser {
            user: UserId(u64::MAX),
            activity: 1.0 / 3.0,
            sums: vec![MeasureSums {
                diversity: 0.1 + 0.2,
                reciprocal: f64::MIN_POSITIVE,
                ..MeasureSums::default()
            }],
            lines: "{\"a\": 1}\n".to_owned(),
        };
        let block = Block {
            users: vec![replayed.clone()],
            covered: vec![vec![CoveredWord {
                index: 7,
                bits: u64::MAX,
            }]],
        };
        checkpoint.write(3, &block).expect("written");
        let read = checkpoint.read(3).expect("read").expect("there");
        assert_eq!(
            (&read.users, &read.covered),
            (&vec![replayed], &block.covered)
        );

        let path = directory.path().join("block-000003");
        let mut bytes = fs::read(&path).expect("bytes");
        bytes[30] ^= 1;
        fs::write(&path, &bytes).expect("written");
        let error = checkpoint.read(3).expect_err("damaged").to_string();
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
