//! Thresholds of the comparison of two servers.

/// The command fails when one of these is broken. Shares are from 0 to 1.
#[derive(Debug, clap::Args)]
pub(super) struct Thresholds {
    /// Fail when the mean overlap is less.
    #[arg(long, value_name = "SHARE")]
    pub(super) min_overlap: Option<f64>,
    /// Fail when the mean rank-biased overlap is less.
    #[arg(long, value_name = "SHARE")]
    pub(super) min_rbo: Option<f64>,
    /// Fail when a smaller share of answers is identical.
    #[arg(long, value_name = "SHARE")]
    pub(super) min_identical: Option<f64>,
    /// Fail when the candidate's p99 is a greater multiple of that of the baseline.
    #[arg(long, value_name = "RATIO")]
    pub(super) max_p99_ratio: Option<f64>,
    /// Fail when a greater share of the calls of either server fails.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0)]
    pub(super) max_failed: f64,
}
