//! Makes a synthetic world of any size: `pins.parquet` and `actions.parquet` with
//! clustered embeddings and users who have a few interests each.
//!
//! ```text
//! cargo run --release --example world -- --out DIR [--pins 100000]
//!     [--dimension 64] [--users 100000] [--actions 10000000] [--seed 1]
//! ```
//!
//! The same arguments give the same files. Actions come in the order of time, so
//! those of a user are spread over the whole file, and they are written batch by
//! batch: the number of actions is not limited by memory.

use std::fs::{File, create_dir_all};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch};
use arrow_array::{TimestampMicrosecondArray, UInt64Array};
use arrow_schema::{DataType, Field};
use clap::Parser;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use pinnersage::model::Timestamp;
use rand::rngs::ChaCha8Rng;
use rand::{Rng, RngExt, SeedableRng};

const PINS_A_TOPIC: u64 = 50;
const BATCH: u64 = 100_000;
const AS_OF: &str = "2026-01-01";
const WINDOW_DAYS: i64 = 90;

#[derive(Parser)]
struct Args {
    /// Directory to write to.
    #[arg(long)]
    out: PathBuf,
    #[arg(long, default_value_t = 100_000)]
    pins: u64,
    #[arg(long, default_value_t = 64)]
    dimension: usize,
    #[arg(long, default_value_t = 100_000)]
    users: u64,
    #[arg(long, default_value_t = 10_000_000)]
    actions: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    create_dir_all(&args.out)?;
    write_pins(&args, &args.out.join("pins.parquet"))?;
    write_actions(&args, &args.out.join("actions.parquet"))?;
    println!(
        "{} pins, {} actions of {} users",
        args.pins, args.actions, args.users
    );
    println!("built in {}; use --as-of {AS_OF}", args.out.display());
    Ok(())
}

/// Roughly normal: the sum of four uniform numbers.
fn normal(rng: &mut impl Rng) -> f32 {
    (0..4).map(|_| rng.random_range(-0.87f32..0.87)).sum()
}

/// Pin p lies near the center of topic p / 50; topics near each other in number
/// share a part of their center.
fn write_pins(args: &Args, path: &Path) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed);
    let mut vector = || -> Vec<f32> { (0..args.dimension).map(|_| normal(&mut rng)).collect() };
    let mut writer = None;
    let mut area = vector();
    let mut topic = vector();
    for first in (0..args.pins).step_by(BATCH as usize) {
        let ids: Vec<u64> = (first..args.pins.min(first + BATCH)).collect();
        let mut components = Vec::with_capacity(ids.len() * args.dimension);
        for &id in &ids {
            if id % (PINS_A_TOPIC * 20) == 0 {
                area = vector();
            }
            if id % PINS_A_TOPIC == 0 {
                topic = area.iter().zip(vector()).map(|(a, t)| a + t).collect();
            }
            components.extend(topic.iter().zip(vector()).map(|(t, n)| t + 0.6 * n));
        }
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let values = Arc::new(Float32Array::from(components));
        let vectors = FixedSizeListArray::try_new(item, args.dimension as i32, values, None)?;
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("pin_id", Arc::new(UInt64Array::from(ids))),
            ("embedding", Arc::new(vectors)),
        ];
        write(&mut writer, path, columns)?;
    }
    close(writer)
}

/// Each user has 2 to 8 topics and a level of activity of her own.
fn write_actions(args: &Args, path: &Path) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(args.seed + 1);
    let as_of: Timestamp = AS_OF.parse()?;
    let window = WINDOW_DAYS * 86_400_000_000;
    let topics = args.pins.div_ceil(PINS_A_TOPIC);
    let mut writer = None;
    for first in (0..args.actions).step_by(BATCH as usize) {
        let count = BATCH.min(args.actions - first);
        let (mut users, mut pins, mut times) = (Vec::new(), Vec::new(), Vec::new());
        for action in first..first + count {
            // The square favors users of low numbers: light and heavy users.
            let uniform: f64 = rng.random();
            let user = (uniform * uniform * args.users as f64) as u64;
            let own_topics = 2 + user % 7;
            let topic = topic_of(user, rng.random_range(0..own_topics), topics);
            users.push(user as i64);
            pins.push(
                (topic * PINS_A_TOPIC + rng.random_range(0..PINS_A_TOPIC)).min(args.pins - 1),
            );
            let passed = action as f64 / args.actions as f64 * window as f64;
            times.push(as_of.micros() - window + passed as i64);
        }
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("user_id", Arc::new(Int64Array::from(users))),
            ("pin_id", Arc::new(UInt64Array::from(pins))),
            (
                "time",
                Arc::new(TimestampMicrosecondArray::from(times).with_timezone("UTC")),
            ),
        ];
        write(&mut writer, path, columns)?;
    }
    close(writer)
}

/// The n-th topic of a user: always the same one.
fn topic_of(user: u64, n: u64, topics: u64) -> u64 {
    ChaCha8Rng::seed_from_u64(user * 8 + n).random_range(0..topics)
}

fn write(
    writer: &mut Option<ArrowWriter<File>>,
    path: &Path,
    columns: Vec<(&str, ArrayRef)>,
) -> Result<()> {
    let batch = RecordBatch::try_from_iter(columns)?;
    let writer = match writer {
        Some(writer) => writer,
        None => {
            let compressed = WriterProperties::builder().set_compression(Compression::SNAPPY);
            let file = File::create(path)?;
            writer.insert(ArrowWriter::try_new(
                file,
                batch.schema(),
                Some(compressed.build()),
            )?)
        }
    };
    Ok(writer.write(&batch)?)
}

fn close(writer: Option<ArrowWriter<File>>) -> Result<()> {
    if let Some(writer) = writer {
        writer.close()?;
    }
    Ok(())
}
