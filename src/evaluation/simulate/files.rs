//! The files of a simulated world: its pins, the actions of its users, and the truth about
//! their interests.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Float64Array, RecordBatch};
use arrow_array::{StringArray, TimestampMicrosecondArray, UInt32Array, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use rayon::prelude::*;

use super::generator::UserGenerator;
use super::params::{WorldError, WorldParams};
use super::user::{SimulatedAction, SimulatedUser};
use super::world::SimulatedWorld;
use crate::batch::BatchError;
use crate::batch::atomic_parquet::{time_type, write_parquet_atomically};
use crate::model::{PinId, Timestamp, UserId};
use crate::progress::Progress;

const BATCH_ROWS: usize = 65_536;

/// The parameters of a simulation.
#[derive(Clone, Debug)]
pub struct SimulateParams {
    /// The parameters of the world.
    pub world: WorldParams,
    /// Number of users; their ids count from 0.
    pub users: u32,
    /// Seed of all draws.
    pub seed: u64,
}

/// Counts of a simulated world.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Simulated {
    /// Themes that topics are around.
    pub themes: usize,
    /// Actions of all users.
    pub actions: usize,
    /// Actions that come from no interest.
    pub noise: usize,
    /// Actions on a pin that the user had acted on before.
    pub repeated: usize,
    /// Interests of all users.
    pub interests: usize,
    /// Interests that come back after a break.
    pub returning: usize,
    /// The number of actions that a tenth, half and nine tenths of the users do not exceed.
    pub actions_per_user: [usize; 3],
    /// The number of interests that a tenth, half and nine tenths of the users do not
    /// exceed.
    pub interests_per_user: [usize; 3],
}

/// Why no world was written.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// There can be no such world.
    #[error(transparent)]
    World(#[from] WorldError),
    /// A file cannot be written.
    #[error(transparent)]
    File(#[from] BatchError),
}

/// Writes a world into the directory `out`: `pins.parquet`, `actions.parquet` by rising
/// time, and `truth.parquet` with the periods of all interests.
pub fn write_world(
    out: &Path,
    params: &SimulateParams,
    progress: Progress,
) -> Result<Simulated, SimulateError> {
    params.world.check()?;
    fs::create_dir_all(out).map_err(|e| BatchError::file(out, e))?;
    let world = SimulatedWorld::new(&params.world, &mut rng(params.seed, 0));
    write_pins(&world, params.world.dimension, out, progress)?;

    let users = UserGenerator::new(&world, &params.world);
    let stage = progress.stage("simulating users", u64::from(params.users));
    let drawn = (0..params.users).into_par_iter().map(|user| {
        // Each user has a generator, so that they are the same on any number of threads.
        let user = users.draw(&mut rng(params.seed, 1 + u64::from(user)));
        stage.advance(1);
        user
    });
    let users: Vec<SimulatedUser> = drawn.collect();
    drop(stage);
    write_truth(&users, params.world.from(), params.world.until, out)?;
    write_actions(&users, out, progress)?;
    Ok(summary(&world, &users))
}

fn rng(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

fn write_pins(
    world: &SimulatedWorld,
    dimension: usize,
    out: &Path,
    progress: Progress,
) -> Result<(), BatchError> {
    let item = Arc::new(Field::new("item", DataType::Float32, false));
    // A dimension is checked to be far below 2^31.
    let width = dimension as i32;
    let schema = schema([
        ("pin_id", DataType::UInt64),
        ("embedding", DataType::FixedSizeList(item.clone(), width)),
        ("title", DataType::Utf8),
    ]);
    let stage = progress.stage("writing pins", u64::from(world.pins()));
    let pins: Vec<PinId> = (0..u64::from(world.pins())).map(PinId).collect();
    write_parquet_atomically(&out.join("pins.parquet"), schema.clone(), |writer| {
        for pins in pins.chunks(BATCH_ROWS) {
            let mut vectors = Vec::with_capacity(pins.len() * dimension);
            pins.iter().for_each(|&pin| world.embed(pin, &mut vectors));
            let vectors = Arc::new(Float32Array::from(vectors));
            // `evaluate` takes the last parentheses of a title for its category.
            let title = |&pin| format!("pin {pin} (topic {})", world.topic_of(pin));
            let columns: Vec<ArrayRef> = vec![
                ids(pins.iter().map(|pin| pin.0)),
                Arc::new(FixedSizeListArray::try_new(
                    item.clone(),
                    width,
                    vectors,
                    None,
                )?),
                Arc::new(StringArray::from_iter_values(pins.iter().map(title))),
            ];
            writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
            stage.advance(pins.len() as u64);
        }
        Ok(())
    })
}

fn write_actions(
    users: &[SimulatedUser],
    out: &Path,
    progress: Progress,
) -> Result<(), BatchError> {
    let schema = schema([
        ("user_id", DataType::UInt64),
        ("pin_id", DataType::UInt64),
        ("time", time_type()),
        ("action", DataType::Utf8),
    ]);
    let of_users = (0..).map(UserId).zip(users);
    let actions = of_users.flat_map(|(id, user)| user.actions.iter().map(move |a| (id, a)));
    let mut actions: Vec<(UserId, &SimulatedAction)> = actions.collect();
    actions.par_sort_by_key(|(user, action)| (action.time, *user));
    let stage = progress.stage("writing actions", actions.len() as u64);
    write_parquet_atomically(&out.join("actions.parquet"), schema.clone(), |writer| {
        for actions in actions.chunks(BATCH_ROWS) {
            let name = |action: &SimulatedAction| if action.is_save { "save" } else { "click" };
            let columns: Vec<ArrayRef> = vec![
                ids(actions.iter().map(|(user, _)| user.0)),
                ids(actions.iter().map(|(_, action)| action.pin.0)),
                times(actions.iter().map(|(_, action)| action.time)),
                Arc::new(StringArray::from_iter_values(
                    actions.iter().map(|(_, action)| name(action)),
                )),
            ];
            writer.write(&RecordBatch::try_new(schema.clone(), columns)?)?;
            stage.advance(actions.len() as u64);
        }
        Ok(())
    })
}

/// Writes the periods of all interests, cut to the days that are simulated.
fn write_truth(
    users: &[SimulatedUser],
    begin: Timestamp,
    end: Timestamp,
    out: &Path,
) -> Result<(), BatchError> {
    let schema = schema([
        ("user_id", DataType::UInt64),
        ("topic", DataType::UInt32),
        ("from", time_type()),
        ("to", time_type()),
        ("weight", DataType::Float64),
    ]);
    let (mut owners, mut topics, mut weights) = (Vec::new(), Vec::new(), Vec::new());
    let (mut from, mut to) = (Vec::new(), Vec::new());
    for (id, user) in (0..).zip(users) {
        for interest in &user.interests {
            for period in &interest.periods {
                owners.push(id);
                topics.push(interest.topic);
                from.push(begin.minus_days(-period.from).max(begin));
                to.push(begin.minus_days(-period.to).min(end));
                weights.push(period.weight);
            }
        }
    }
    write_parquet_atomically(&out.join("truth.parquet"), schema.clone(), |writer| {
        let columns: Vec<ArrayRef> = vec![
            ids(owners),
            Arc::new(UInt32Array::from(topics)),
            times(from),
            times(to),
            Arc::new(Float64Array::from(weights)),
        ];
        Ok(writer.write(&RecordBatch::try_new(schema, columns)?)?)
    })
}

/// Columns without nulls.
fn schema<const N: usize>(columns: [(&str, DataType); N]) -> SchemaRef {
    let fields = columns.map(|(name, data_type)| Field::new(name, data_type, false));
    Arc::new(Schema::new(fields.to_vec()))
}

fn ids(ids: impl IntoIterator<Item = u64>) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(ids))
}

fn times(times: impl IntoIterator<Item = Timestamp>) -> ArrayRef {
    let micros = times.into_iter().map(Timestamp::micros);
    Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_data_type(time_type()))
}

fn summary(world: &SimulatedWorld, users: &[SimulatedUser]) -> Simulated {
    let actions = || users.iter().flat_map(|user| &user.actions);
    let interests = || users.iter().flat_map(|user| &user.interests);
    Simulated {
        themes: world.themes(),
        actions: actions().count(),
        noise: actions().filter(|action| action.is_noise).count(),
        repeated: actions().filter(|action| action.is_repeated).count(),
        interests: interests().count(),
        returning: interests()
            .filter(|interest| interest.periods.len() > 1)
            .count(),
        actions_per_user: tenths(users.iter().map(|user| user.actions.len())),
        interests_per_user: tenths(users.iter().map(|user| user.interests.len())),
    }
}

/// The number that a tenth of all, half of them, and nine tenths do not exceed; 0 of none.
fn tenths(numbers: impl Iterator<Item = usize>) -> [usize; 3] {
    let mut numbers: Vec<usize> = numbers.collect();
    numbers.sort_unstable();
    [1, 5, 9].map(|tenths| {
        let at = (numbers.len() * tenths).div_ceil(10).saturating_sub(1);
        numbers.get(at).copied().unwrap_or(0)
    })
}
