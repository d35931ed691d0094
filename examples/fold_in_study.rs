//! What fold-in gives up against a batch over the same actions.
//!
//! ```text
//! cargo run --release --example fold_in_study -- [--data DIR] [--from 2017-11-01]
//!     [--days 1] [--later 7] [--rounds 20]
//! ```
//!
//! Profiles are built up to `--from`. The actions of the next `--days` are folded in,
//! and beside that profiles are built from scratch up to their end. Both, and the
//! old profiles as they are, recommend 400 candidates from three sampled medoids,
//! and are measured by what the user did in the `--later` days after that:
//! relevance is the share of these actions with cosine 0.8 or more to a candidate,
//! recall the share that is a candidate. `--rounds` starting days follow each other.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use clap::Parser;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use pinnersage::batch::{CatalogParams, ChangeFiles, ProfileParams, build_catalog, build_profiles};
use pinnersage::cluster::{FoldParams, Params, Scratch, fold_in};
use pinnersage::index::{Catalog, Exact, GraphParams, PinTable};
use pinnersage::kernel;
use pinnersage::model::{Held, Medoid, PinId, Timestamp, UserId};
use pinnersage::progress::Progress;
use pinnersage::recommend::{
    Interests, MergeStrategy, Origin, Request, Scratch as RecommendScratch, Unwatched, recommend,
};
use pinnersage::store::ProfileStore;
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

const RELEVANT: f32 = 0.8;
const CLUSTER: Params = Params {
    alpha: 4.0,
    lambda_per_day: 0.01,
};

#[derive(Parser)]
struct Args {
    #[arg(long, default_value = "examples/complete-journey")]
    data: PathBuf,
    #[arg(long, default_value = "2017-11-01")]
    from: Timestamp,
    #[arg(long, default_value_t = 1)]
    days: i32,
    #[arg(long, default_value_t = 7)]
    later: i32,
    #[arg(long, default_value_t = 20)]
    rounds: i32,
}

/// Actions of a user by time.
type Actions = HashMap<UserId, Vec<(Timestamp, PinId)>>;

#[derive(Default)]
struct Measured {
    users: f64,
    relevance: f64,
    recall: f64,
}

#[derive(Default)]
struct Study {
    stale: Measured,
    folded: Measured,
    batch: Measured,
    same_top_3: f64,
    shared_of_top_3: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let scratch = tempfile::tempdir()?;
    let catalog = scratch.path().join("catalog");
    let params = CatalogParams {
        embedding_version: "study".to_owned(),
        min_quality: None,
        changes: ChangeFiles::default(),
        graph: GraphParams {
            ef_construction: 128,
            seed: 1,
        },
    };
    let files = [args.data.join("pins.parquet")];
    build_catalog(&files, &catalog, &params, Progress::Silent)?;
    let pins = Catalog::open(&catalog)?.pins;
    let file = args.data.join("actions_300_users.parquet");
    let actions = read(&file)?;
    let mut study = Study::default();
    for round in 0..args.rounds {
        let begin = args.from.minus_days(f64::from(-round * args.days));
        let end = begin.minus_days(f64::from(-args.days));
        let profiles = |name: &str, as_of| -> Result<ProfileStore> {
            let root = scratch.path().join(name);
            let files = [file.clone()];
            build_profiles(
                &files,
                &catalog,
                &root,
                &profile_params(as_of),
                Progress::Silent,
            )?;
            Ok(ProfileStore::open(&root)?)
        };
        let (old, new) = (profiles("old", begin)?, profiles("new", end)?);
        study.add(&old, &new, &actions, &pins, (begin, end), &args);
    }
    study.print();
    Ok(())
}

fn profile_params(as_of: Timestamp) -> ProfileParams {
    ProfileParams {
        as_of,
        window_days: 90.0,
        cluster: CLUSTER,
        max_actions: 3_000,
        action_weights: [("save".to_owned(), 1.0)].into(),
        history_filter: false,
        memory: 1 << 29,
    }
}

fn read(path: &Path) -> Result<Actions> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?.build()?;
    let mut actions = Actions::new();
    for batch in reader {
        let batch = batch?;
        let column = |name| batch.column_by_name(name).context("a column");
        let users = column("user_id")?.as_primitive::<Int64Type>();
        let pins = column("pin_id")?.as_primitive::<Int64Type>();
        let times = column("time")?.as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let user = UserId(users.value(row) as u64);
            let (time, pin) = (times.value(row), pins.value(row));
            let action = (Timestamp::from_micros(time), PinId(pin as u64));
            actions.entry(user).or_default().push(action);
        }
    }
    actions
        .values_mut()
        .for_each(|actions| actions.sort_unstable());
    Ok(actions)
}

impl Study {
    /// Adds all users who have a profile, acted in [begin, end) and acted later.
    fn add(
        &mut self,
        old: &ProfileStore,
        new: &ProfileStore,
        actions: &Actions,
        pins: &PinTable,
        (begin, end): (Timestamp, Timestamp),
        args: &Args,
    ) {
        let last = end.minus_days(f64::from(-args.later));
        let fold = FoldParams {
            cluster: CLUSTER,
            clustered: 20,
            silenced_by: 0,
        };
        let row_of = |pin| pins.place(pin).map(|place| pins.node(place));
        for (&user, actions) in actions {
            let (Some(stored), Some(batch)) = (old.get(user), new.get(user)) else {
                continue;
            };
            let between = |from, to| {
                let within = actions
                    .iter()
                    .filter(move |(time, _)| (from..to).contains(time));
                within.filter_map(|&(time, pin)| Some((time, pin, row_of(pin)?)))
            };
            let held = |(time, pin, _)| Held {
                time,
                pin,
                weight: 1.0,
            };
            let today: Vec<Held> = between(begin, end).map(held).collect();
            let later: Vec<(PinId, usize)> =
                between(end, last).map(|(_, pin, row)| (pin, row)).collect();
            if today.is_empty() || later.is_empty() {
                continue;
            }
            let today = &today[today.len().saturating_sub(100)..];
            let stored = (stored.medoids, begin);
            let scratch = &mut Scratch::default();
            let vector_of = |pin| Some(pins.vectors().row(row_of(pin)?));
            let folded = fold_in(stored, (today, &[]), vector_of, &fold, scratch);
            let folded: Vec<Medoid> = folded.interests.iter().map(|i| i.medoid).collect();

            let top = |medoids: &[Medoid]| -> Vec<PinId> {
                let mut top: Vec<PinId> = medoids.iter().take(3).map(|m| m.pin).collect();
                top.sort_unstable();
                top
            };
            let (of_folded, of_batch) = (top(&folded), top(batch.medoids));
            self.same_top_3 += f64::from(u8::from(of_folded == of_batch));
            let shared = of_folded
                .iter()
                .filter(|pin| of_batch.contains(pin))
                .count();
            self.shared_of_top_3 += shared as f64 / of_batch.len() as f64;
            self.stale.add(stored.0, &later, pins, user);
            self.folded.add(&folded, &later, pins, user);
            self.batch.add(batch.medoids, &later, pins, user);
        }
    }

    fn print(&self) {
        let users = self.batch.users;
        println!("{users} times a user acted on the day and later");
        println!(
            "same three medoids of greatest importance: {:.1} %; of these shared: {:.1} %",
            100.0 * self.same_top_3 / users,
            100.0 * self.shared_of_top_3 / users,
        );
        println!("| profile | relevance | recall |\n| --- | --- | --- |");
        let rows = [
            ("the day before", &self.stale),
            ("the day before, with the day folded in", &self.folded),
            ("built again", &self.batch),
        ];
        for (name, of) in rows {
            let (relevance, recall) = (of.relevance / of.users, of.recall / of.users);
            println!("| {name} | {relevance:.4} | {recall:.4} |");
        }
    }
}

impl Measured {
    fn add(&mut self, medoids: &[Medoid], later: &[(PinId, usize)], pins: &PinTable, user: UserId) {
        let interests = Interests {
            own: Some((medoids, Origin::Profile)),
            popular: &[],
            factors: &[],
            all_in_catalog: false,
        };
        let request = Request {
            limit: 400,
            medoids: 3,
            strategy: MergeStrategy::Interleave,
            excluded: &[],
            effort: 1.0,
        };
        let rng = &mut ChaCha8Rng::seed_from_u64(user.0);
        let scratch = &mut RecommendScratch::default();
        let answer = recommend(
            interests,
            &|_| false,
            &request,
            &Exact(pins),
            rng,
            &Unwatched,
            scratch,
        );
        // People buy again what they bought, so their medoids count as well.
        let sampled = answer.sampled.iter().map(|sampled| sampled.medoid.pin);
        let found: Vec<PinId> = answer
            .candidates
            .iter()
            .map(|c| c.pin)
            .chain(sampled)
            .collect();
        let places = found.iter().filter_map(|&pin| pins.place(pin));
        let rows: Vec<usize> = places.map(|place| pins.node(place)).collect();
        let vectors = pins.vectors();
        let near = |row: usize| {
            let cosine = |&other: &usize| kernel::dot(vectors.row(row), vectors.row(other));
            rows.iter().any(|other| cosine(other) >= RELEVANT)
        };
        let share = |count: usize| count as f64 / later.len() as f64;
        self.users += 1.0;
        self.relevance += share(later.iter().filter(|&&(_, row)| near(row)).count());
        self.recall += share(later.iter().filter(|(pin, _)| found.contains(pin)).count());
    }
}
