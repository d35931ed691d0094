//! `pinnersage users`: requests for a load test, of users that are asked for as
//! unevenly as real ones.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::Zipf;
use serde::{Deserialize, Serialize};

use crate::store::ProfilesReader;

#[derive(Debug, Args)]
pub(super) struct UsersArgs {
    /// How many requests.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    count: usize,
    /// Draw from the users with the ids from 0 up to this one.
    #[arg(long, value_name = "N", required_unless_present = "profiles")]
    users: Option<u64>,
    /// Draw from the users who have a profile here.
    #[arg(long, value_name = "DIR", conflicts_with = "users")]
    profiles: Option<PathBuf>,
    /// How uneven: the nth most frequent user is drawn in proportion to n^-skew.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    skew: f64,
    /// Seed of the draws.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Where to write them: a JSON array of messages, for ghz and `pinnersage diff`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// A request, in the JSON form of Protocol Buffers, which has 64-bit ids as text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UserRequest {
    pub(super) user_id: String,
}

pub(super) fn run(args: &UsersArgs) -> anyhow::Result<()> {
    let known: Option<Vec<u64>> = match &args.profiles {
        Some(path) => {
            let profiles = ProfilesReader::open(path)?;
            let mut ids: Vec<u64> = profiles.iter().map(|(user, _)| user.0).collect();
            ids.sort_unstable();
            Some(ids)
        }
        None => None,
    };
    let count = known
        .as_ref()
        .map_or(args.users.unwrap_or(0), |ids| ids.len() as u64);
    let zipf = Zipf::new(count as f64, args.skew);
    let zipf =
        zipf.with_context(|| format!("no draws of {count} users with skew {}", args.skew))?;
    let rng = &mut ChaCha8Rng::seed_from_u64(args.seed);
    let requests = (0..args.count).map(|_| {
        // Ranks count from 1.
        let rank = rng.sample(zipf) as u64 - 1;
        let id = known.as_ref().map_or(rank, |ids| ids[rank as usize]);
        UserRequest {
            user_id: id.to_string(),
        }
    });
    let requests: Vec<UserRequest> = requests.collect();
    let path = args.out.display();
    let write = || {
        let mut file = BufWriter::new(File::create(&args.out)?);
        serde_json::to_writer(&mut file, &requests)?;
        file.flush()
    };
    write().with_context(|| path.to_string())
}
