//! `pinnersage users`: requests for a load test, whose users are drawn as unevenly as
//! real ones.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};
use rand_distr::Zipf;

use super::id_or_key::IdOrKey;
use super::user_requests::UserRequest;
use crate::store::ProfilesReader;

#[derive(Debug, Args)]
pub(super) struct UsersArgs {
    /// Number of requests.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    count: usize,
    /// Draw from the users with the ids from 0 up to this one.
    #[arg(long, value_name = "N", required_unless_present = "profiles")]
    users: Option<u64>,
    /// Draw from the users who have a profile here.
    #[arg(long, value_name = "DIR", conflicts_with = "users")]
    profiles: Option<PathBuf>,
    /// Skew of the draws: the nth most frequent user is drawn in proportion to n^-skew.
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    skew: f64,
    /// Seed of the draws.
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// File to write: a JSON array of messages, for ghz and `pinnersage diff`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

pub(super) fn run(args: &UsersArgs) -> anyhow::Result<()> {
    let users = match &args.profiles {
        Some(profiles) => Users::with_profiles(profiles)?,
        None => Users::Below(args.users.unwrap_or(0)),
    };
    let count = users.count();
    let zipf = Zipf::new(count as f64, args.skew);
    let zipf =
        zipf.with_context(|| format!("no draws of {count} users with skew {}", args.skew))?;
    let rng = &mut ChaCha8Rng::seed_from_u64(args.seed);
    let draw = |_| {
        // Ranks count from 1.
        let rank = rng.sample(zipf) as u64 - 1;
        UserRequest::from(users.user(rank))
    };
    let requests: Vec<UserRequest> = (0..args.count).map(draw).collect();
    write(&args.out, &requests).with_context(|| args.out.display().to_string())
}

/// The users that requests are drawn from.
enum Users {
    /// Ids from 0 up to this one.
    Below(u64),
    /// By ascending id.
    Listed(Vec<IdOrKey>),
}

impl Users {
    fn with_profiles(path: &Path) -> anyhow::Result<Self> {
        let profiles = ProfilesReader::open(path)?;
        let mut users: Vec<IdOrKey> = profiles
            .iter()
            .enumerate()
            .filter(|(_, (_, profile))| !profile.medoids.is_empty())
            .map(|(position, (user, _))| match profiles.key(position) {
                None => IdOrKey::Id(user.0),
                Some(key) => IdOrKey::Key(key.to_owned()),
            })
            .collect();
        users.sort_unstable_by_key(IdOrKey::id);
        Ok(Self::Listed(users))
    }

    fn count(&self) -> u64 {
        match self {
            Self::Below(count) => *count,
            Self::Listed(users) => users.len() as u64,
        }
    }

    fn user(&self, rank: u64) -> IdOrKey {
        match self {
            Self::Below(_) => IdOrKey::Id(rank),
            Self::Listed(users) => users[rank as usize].clone(),
        }
    }
}

fn write(path: &Path, requests: &[UserRequest]) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut file, requests)?;
    file.flush()
}
