//! Measures of candidate lists, and their confidence intervals.

mod bootstrap;
mod categories;
mod measures;

pub use bootstrap::Interval;
pub(crate) use bootstrap::{Column, Estimate, Ratio, bootstrap_intervals, estimate_ratios};
pub(crate) use categories::categories_of_pins;
pub(crate) use measures::{
    MeasureSums, count_distinct, diversity, is_near, r_precision_hits, reciprocal_rank,
};
