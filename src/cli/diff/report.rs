//! How the answers of two servers differ, and whether that is too much.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::{DiffArgs, Server};
use crate::compare::{overlap, rank_biased_overlap};
use crate::wire::v1;

/// What sums of shares may be off by.
const ROUNDING: f64 = 1e-9;
/// Six sevenths of the weight of rank-biased overlap are on the first 20 places.
const PERSISTENCE: f64 = 0.95;

/// The printed form of the comparison. Shares are from 0 to 1.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    requests: usize,
    /// Both servers answered.
    compared: usize,
    /// Equal candidates in equal order.
    identical: f64,
    overlap: Quantiles,
    rank_biased_overlap: Quantiles,
    interests: Interests,
    baseline: Side,
    candidate: Side,
    /// Thresholds that are broken.
    pub(super) broken: Vec<String>,
}

/// Mean, and what the worst have at most.
#[derive(Debug, Default, Serialize)]
struct Quantiles {
    mean: f64,
    worst_1_percent: f64,
    worst_10_percent: f64,
}

/// What the sampled medoids of both answers have to do with one another.
#[derive(Debug, Default, Serialize)]
struct Interests {
    /// Of the medoids of either, those of both.
    shared: f64,
    /// Of shared ones: the mean relative difference of importance.
    importance_delta: f64,
    /// Of shared ones: the mean overlap of the candidates that they brought.
    overlap: f64,
}

/// One of the servers.
#[derive(Debug, Default, Serialize)]
pub(super) struct Side {
    pub(super) build: String,
    pub(super) catalog_version: String,
    pub(super) profile_version: String,
    pub(super) failed: f64,
    pub(super) degraded: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

pub(super) type Pair = (v1::RecommendResponse, v1::RecommendResponse);

impl Report {
    pub(super) fn of(
        pairs: &[Pair],
        requests: usize,
        servers: (&Server, &Server),
        args: &DiffArgs,
    ) -> Self {
        let pins = |answer: &v1::RecommendResponse| -> Vec<u64> {
            answer.candidates.iter().map(|found| found.pin_id).collect()
        };
        let lists: Vec<_> = pairs.iter().map(|(a, b)| (pins(a), pins(b))).collect();
        let identical = lists.iter().filter(|(a, b)| a == b).count();
        let overlaps = lists.iter().map(|(a, b)| overlap(a, b)).collect();
        let biased = lists
            .iter()
            .map(|(a, b)| rank_biased_overlap(a, b, PERSISTENCE))
            .collect();
        let mut report = Self {
            requests,
            compared: pairs.len(),
            identical: identical as f64 / pairs.len().max(1) as f64,
            overlap: Quantiles::of(overlaps),
            rank_biased_overlap: Quantiles::of(biased),
            interests: Interests::of(pairs),
            baseline: servers.0.side(),
            candidate: servers.1.side(),
            broken: Vec::new(),
        };
        report.broken = report.judge(args);
        report
    }

    fn judge(&self, args: &DiffArgs) -> Vec<String> {
        // What is no number is no threshold that holds.
        let at_least = |what: &str, value: f64, least: Option<f64>| {
            let holds = |least: f64| value >= least - ROUNDING;
            let least = least.filter(|&least| !holds(least))?;
            Some(format!("{what} is {value:.4}, less than {least}"))
        };
        let at_most = |what: &str, value: f64, most: Option<f64>| {
            let holds = |most: f64| value <= most + ROUNDING;
            let most = most.filter(|&most| !holds(most))?;
            Some(format!("{what} is {value:.4}, more than {most}"))
        };
        let ratio = self.candidate.p99_ms / self.baseline.p99_ms;
        let none = (self.compared == 0).then(|| "no pair of answers could be compared".to_owned());
        let rbo = self.rank_biased_overlap.mean;
        [
            none,
            at_least("overlap", self.overlap.mean, args.min_overlap),
            at_least("rank-biased overlap", rbo, args.min_rbo),
            at_least(
                "share of identical answers",
                self.identical,
                args.min_identical,
            ),
            at_most("ratio of p99", ratio, args.max_p99_ratio),
            at_most(
                "share of failed calls",
                self.candidate.failed,
                Some(args.max_failed),
            ),
            at_most(
                "share of failed calls of the baseline",
                self.baseline.failed,
                Some(args.max_failed),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

impl Quantiles {
    fn of(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        values.sort_by(f64::total_cmp);
        Self {
            mean: mean(&values),
            worst_1_percent: values[values.len() / 100],
            worst_10_percent: values[values.len() / 10],
        }
    }
}

impl Interests {
    fn of(pairs: &[Pair]) -> Self {
        let (mut shares, mut deltas, mut overlaps) = (Vec::new(), Vec::new(), Vec::new());
        for (a, b) in pairs {
            let places: HashMap<u64, usize> = (0..)
                .zip(&b.medoids)
                .map(|(at, m)| (m.pin_id, at))
                .collect();
            let mut shared = 0;
            for (at, medoid) in a.medoids.iter().enumerate() {
                let Some(&other) = places.get(&medoid.pin_id) else {
                    continue;
                };
                shared += 1;
                let (one, two) = (medoid.importance, b.medoids[other].importance);
                deltas.push((one - two).abs() / one.max(two).max(f64::MIN_POSITIVE));
                overlaps.push(overlap(&brought(a, at), &brought(b, other)));
            }
            let either = a.medoids.len() + b.medoids.len() - shared;
            shares.push(shared as f64 / either.max(1) as f64);
        }
        Self {
            shared: mean(&shares),
            importance_delta: mean(&deltas),
            overlap: mean(&overlaps),
        }
    }
}

/// The candidates that one medoid of an answer brought.
fn brought(answer: &v1::RecommendResponse, medoid: usize) -> Vec<u64> {
    let of = |found: &&v1::Candidate| found.medoid_index as usize == medoid;
    let found = answer.candidates.iter().filter(of);
    found.map(|found| found.pin_id).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, compared) = (self.requests, self.compared);
        writeln!(f, "{compared} of {requests} requests were answered by both")?;
        writeln!(
            f,
            "{:24}{:>10}{:>12}{:>12}",
            "", "mean", "worst 10 %", "worst 1 %"
        )?;
        for (name, measure) in [
            ("overlap", &self.overlap),
            ("rank-biased overlap", &self.rank_biased_overlap),
        ] {
            let (ten, one) = (measure.worst_10_percent, measure.worst_1_percent);
            writeln!(f, "{name:24}{:10.4}{ten:12.4}{one:12.4}", measure.mean)?;
        }
        writeln!(f, "{:24}{:10.4}", "identical answers", self.identical)?;
        writeln!(f, "{:24}{:10.4}", "shared medoids", self.interests.shared)?;
        writeln!(
            f,
            "{:24}{:10.4}",
            "  their importance, by", self.interests.importance_delta
        )?;
        writeln!(
            f,
            "{:24}{:10.4}",
            "  overlap of their pins", self.interests.overlap
        )?;
        let header = ["failed", "degraded", "p50 ms", "p99 ms"];
        write!(f, "{:24}", "")?;
        header.iter().try_for_each(|name| write!(f, "{name:>10}"))?;
        for (name, side) in [("baseline", &self.baseline), ("candidate", &self.candidate)] {
            let Side {
                failed,
                degraded,
                p50_ms,
                p99_ms,
                ..
            } = side;
            write!(
                f,
                "\n{name:24}{failed:10.4}{degraded:10.4}{p50_ms:10.3}{p99_ms:10.3}"
            )?;
            write!(
                f,
                "  build {}, catalog {}, profiles {}",
                side.build, side.catalog_version, side.profile_version
            )?;
        }
        Ok(())
    }
}
