//! Walk-forward replay: what would have been recommended on each day from what was known
//! before it, measured by what users did then.
//!
//! [`evaluate`] compares models and [`tune()`] proposes settings, both by a replay;
//! [`simulate`] makes worlds whose truth is known, to replay. The flow of a replay is: read
//! -> for each user and day: interests of each model -> recommend -> measure -> report.
//!
//! All models go through [`crate::recommend::Recommender::recommend`], the code that serves. They differ
//! in the medoids that they pass to it. Users are independent of each other, so they are
//! replayed in parallel, and no result depends on their order.

mod error;
mod evaluate;
mod history;
mod metrics;
mod models;
mod params;
mod replay;
mod report;
mod seeds;
pub mod simulate;
mod tune;

pub use error::EvaluateError;
pub use evaluate::evaluate;
pub use metrics::Interval;
pub use models::{DEFAULT_MODELS, FoldInLimits, Model, ModelError};
pub use params::{EvaluateParams, ReplayFiles};
pub use report::{Head, ModelReport, Page, Segment, Segments, Table, html};
pub use tune::{Grid, Step, Trial, Tuned, tune};
