//! The replay: for each user and day, the answer of each model and what it is worth.

mod answer;
mod blocks;
mod case;
mod checkpoint;
mod coverage;
mod details;
mod input;
mod model_index;
mod outcome;
mod replayer;
mod run;
mod shapes;
mod user;

pub(crate) use outcome::Measured;
pub(crate) use run::replay;
