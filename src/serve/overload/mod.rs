//! Overload protection: how many searches run at a time, and where.
//!
//! Files in reading order: `load` (estimates of durations and waits), `queue` (calls that
//! wait), `limiter` (admission of searches), `workers` (the threads that search).

mod limiter;
mod load;
mod queue;
mod workers;

pub(crate) use limiter::Limiter;
pub(crate) use workers::{Workers, background_thread, catch_panic};
