//! Measures of candidate lists, and their confidence intervals.

mod bootstrap;
mod categories;
mod measures;
mod spacing;

pub use bootstrap::Interval;
pub(crate) use bootstrap::{Column, Estimate, Ratio, bootstrap_intervals, estimate_ratios};
pub(crate) use categories::categories_of_pins;
pub(crate) use measures::{
    HEAD, MeasureSums, count_distinct, diversity, first_near, r_precision_hits, reciprocal_rank,
};
pub(crate) use spacing::mark_crowded;
