//! The report on how the answers of two servers differ.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use super::server::ServerStats;
use super::thresholds::Thresholds;
use crate::compare::{overlap, rank_biased_overlap};
use crate::wire::v1;

/// Error of sums of shares by rounding.
const ROUNDING: f64 = 1e-9;
/// Persistence of rank-biased overlap: six sevenths of the weight are on the first 20
/// ranks.
const PERSISTENCE: f64 = 0.95;

/// The printed form of the comparison. Shares are from 0 to 1.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    requests: usize,
    /// Number of requests that both servers answered.
    compared: usize,
    /// Share of answers with equal candidates in equal order.
    identical: f64,
    overlap: Quantiles,
    rank_biased_overlap: Quantiles,
    interests: InterestComparison,
    baseline: ServerStats,
    candidate: ServerStats,
    /// Thresholds that are broken.
    pub(super) broken: Vec<String>,
}

/// Mean of a share over all answers, and the greatest share of the worst ones.
#[derive(Debug, Default, Serialize)]
struct Quantiles {
    mean: f64,
    worst_1_percent: f64,
    worst_10_percent: f64,
}

/// Comparison of the sampled medoids of two answers.
#[derive(Debug, Default, Serialize)]
struct InterestComparison {
    /// Share of the medoids of either answer that are in both.
    shared: f64,
    /// Mean relative difference of importance, of shared medoids.
    importance_delta: f64,
    /// Mean overlap of the candidates of shared medoids.
    overlap: f64,
}

/// The answers of both servers to one request.
pub(super) struct AnswerPair {
    pub(super) baseline: v1::RecommendResponse,
    pub(super) candidate: v1::RecommendResponse,
}

impl Report {
    /// The report on `pairs`, which are the answers to some of the `requests`.
    pub(super) fn new(
        pairs: &[AnswerPair],
        requests: usize,
        baseline: ServerStats,
        candidate: ServerStats,
    ) -> Self {
        let pins = |answer: &v1::RecommendResponse| -> Vec<u64> {
            let candidates = answer.candidates.iter();
            candidates.map(|candidate| candidate.pin_id).collect()
        };
        let lists: Vec<_> = pairs
            .iter()
            .map(|pair| (pins(&pair.baseline), pins(&pair.candidate)))
            .collect();
        let identical = lists.iter().filter(|(a, b)| a == b).count();
        let overlaps = lists.iter().map(|(a, b)| overlap(a, b)).collect();
        let biased = lists
            .iter()
            .map(|(a, b)| rank_biased_overlap(a, b, PERSISTENCE))
            .collect();
        Self {
            requests,
            compared: pairs.len(),
            identical: identical as f64 / pairs.len().max(1) as f64,
            overlap: Quantiles::new(overlaps),
            rank_biased_overlap: Quantiles::new(biased),
            interests: InterestComparison::new(pairs),
            baseline,
            candidate,
            broken: Vec::new(),
        }
    }

    /// The same with the thresholds that it breaks.
    #[must_use]
    pub(super) fn judged_by(self, thresholds: &Thresholds) -> Self {
        let no_pair =
            (self.compared == 0).then(|| "no pair of answers could be compared".to_owned());
        let rbo = self.rank_biased_overlap.mean;
        let p99_ratio = self.candidate.p99_ms / self.baseline.p99_ms;
        let max_failed = Some(thresholds.max_failed);
        let broken = [
            no_pair,
            at_least("overlap", self.overlap.mean, thresholds.min_overlap),
            at_least("rank-biased overlap", rbo, thresholds.min_rbo),
            at_least(
                "share of identical answers",
                self.identical,
                thresholds.min_identical,
            ),
            at_most("ratio of p99", p99_ratio, thresholds.max_p99_ratio),
            at_most("share of failed calls", self.candidate.failed, max_failed),
            at_most(
                "share of failed calls of the baseline",
                self.baseline.failed,
                max_failed,
            ),
        ];
        Self {
            broken: broken.into_iter().flatten().collect(),
            ..self
        }
    }
}

/// What is wrong when `value` is below `min`. A threshold that is NaN is always broken.
fn at_least(name: &str, value: f64, min: Option<f64>) -> Option<String> {
    let is_met = |min: f64| value >= min - ROUNDING;
    let min = min.filter(|&min| !is_met(min))?;
    Some(format!("{name} is {value:.4}, less than {min}"))
}

/// What is wrong when `value` is above `max`. A threshold that is NaN is always broken.
fn at_most(name: &str, value: f64, max: Option<f64>) -> Option<String> {
    let is_met = |max: f64| value <= max + ROUNDING;
    let max = max.filter(|&max| !is_met(max))?;
    Some(format!("{name} is {value:.4}, more than {max}"))
}

impl Quantiles {
    fn new(mut values: Vec<f64>) -> Self {
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

impl InterestComparison {
    fn new(pairs: &[AnswerPair]) -> Self {
        let (mut shares, mut deltas, mut overlaps) = (Vec::new(), Vec::new(), Vec::new());
        for AnswerPair {
            baseline: a,
            candidate: b,
        } in pairs
        {
            let indices: HashMap<u64, usize> = (0..)
                .zip(&b.medoids)
                .map(|(index, medoid)| (medoid.pin_id, index))
                .collect();
            let mut shared = 0;
            for (index, medoid) in a.medoids.iter().enumerate() {
                let Some(&other) = indices.get(&medoid.pin_id) else {
                    continue;
                };
                shared += 1;
                let (one, two) = (medoid.importance, b.medoids[other].importance);
                deltas.push((one - two).abs() / one.max(two).max(f64::MIN_POSITIVE));
                overlaps.push(overlap(&candidates_of(a, index), &candidates_of(b, other)));
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

/// The candidates that one medoid of an answer found.
fn candidates_of(answer: &v1::RecommendResponse, medoid: usize) -> Vec<u64> {
    let is_of_medoid = |candidate: &&v1::Candidate| candidate.medoid_index as usize == medoid;
    let candidates = answer.candidates.iter().filter(is_of_medoid);
    candidates.map(|candidate| candidate.pin_id).collect()
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, compared) = (self.requests, self.compared);
        writeln!(f, "{compared} of {requests} requests were answered by both")?;
        self.write_answers(f)?;
        self.write_servers(f)
    }
}

impl Report {
    fn write_answers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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
        let interests = &self.interests;
        for (name, value) in [
            ("identical answers", self.identical),
            ("shared medoids", interests.shared),
            ("  their importance, by", interests.importance_delta),
            ("  overlap of their pins", interests.overlap),
        ] {
            writeln!(f, "{name:24}{value:10.4}")?;
        }
        Ok(())
    }

    fn write_servers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["failed", "degraded", "recent", "p50 ms", "p99 ms"];
        write!(f, "{:24}", "")?;
        header.iter().try_for_each(|name| write!(f, "{name:>10}"))?;
        for (name, server) in [("baseline", &self.baseline), ("candidate", &self.candidate)] {
            let ServerStats {
                build,
                catalog_version,
                profile_version,
                failed,
                degraded,
                recent,
                p50_ms,
                p99_ms,
            } = server;
            write!(
                f,
                "\n{name:24}{failed:10.4}{degraded:10.4}{recent:10.4}{p50_ms:10.3}{p99_ms:10.3}"
            )?;
            write!(
                f,
                "  build {build}, catalog {catalog_version}, profiles {profile_version}"
            )?;
        }
        match self.fold_in_difference() {
            Some(difference) => write!(f, "\n{difference}"),
            None => Ok(()),
        }
    }

    /// What to know of answers of which only one side knows recorded actions.
    fn fold_in_difference(&self) -> Option<String> {
        let (with, without) = match (self.baseline.recent > 0.0, self.candidate.recent > 0.0) {
            (true, false) => ("baseline", "candidate"),
            (false, true) => ("candidate", "baseline"),
            (true, true) | (false, false) => return None,
        };
        Some(format!(
            "only the {with} has answers that rest on recorded actions: the {without} has none \
             of these actions, and its answers differ for that, too"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_THRESHOLDS: Thresholds = Thresholds {
        min_overlap: None,
        min_rbo: None,
        min_identical: None,
        max_p99_ratio: None,
        max_failed: 0.0,
    };

    /// An answer with one medoid for each list of pins.
    fn answer(lists: &[(u64, f64, &[u64])]) -> v1::RecommendResponse {
        let mut response = v1::RecommendResponse::default();
        for (index, &(pin_id, importance, pins)) in (0..).zip(lists) {
            response.medoids.push(v1::SampledMedoid {
                pin_id,
                importance,
                ..Default::default()
            });
            let candidates = pins.iter().map(|&pin_id| v1::Candidate {
                pin_id,
                medoid_index: index,
                ..Default::default()
            });
            response.candidates.extend(candidates);
        }
        response
    }

    fn report(pairs: &[AnswerPair]) -> Report {
        let server = |p99_ms| ServerStats {
            p99_ms,
            ..ServerStats::default()
        };
        Report::new(pairs, 3, server(2.0), server(4.0))
    }

    fn pairs() -> [AnswerPair; 2] {
        let same = || answer(&[(1, 2.0, &[10, 11])]);
        [
            AnswerPair {
                baseline: same(),
                candidate: same(),
            },
            AnswerPair {
                baseline: answer(&[(1, 2.0, &[10, 11]), (2, 1.0, &[12, 13])]),
                candidate: answer(&[(3, 1.0, &[20, 21]), (1, 1.0, &[10, 22])]),
            },
        ]
    }

    #[test]
    fn shared_medoids_and_their_candidates_are_compared() {
        let report = report(&pairs());
        assert_eq!((report.requests, report.compared), (3, 2));
        assert_eq!(report.identical, 0.5);
        // All of the first pair, one of three of the second.
        assert!((report.interests.shared - 2.0 / 3.0).abs() < 1e-12);
        // Nothing, and 1 of 2.
        assert_eq!(report.interests.importance_delta, 0.25);
        assert!(report.overlap.mean < 1.0 && report.overlap.worst_1_percent < 0.5);
        assert!(report.to_string().contains("2 of 3 requests"));
    }

    #[test]
    fn each_broken_threshold_is_named() {
        let broken = |thresholds: &Thresholds| report(&pairs()).judged_by(thresholds).broken;
        assert_eq!(broken(&NO_THRESHOLDS), Vec::<String>::new());
        let met = Thresholds {
            min_identical: Some(0.5),
            max_p99_ratio: Some(2.0),
            ..NO_THRESHOLDS
        };
        assert_eq!(broken(&met), Vec::<String>::new());
        let unmet = Thresholds {
            min_overlap: Some(1.0),
            min_rbo: Some(1.0),
            min_identical: Some(f64::NAN),
            max_p99_ratio: Some(1.9),
            ..NO_THRESHOLDS
        };
        let broken = broken(&unmet);
        assert_eq!(broken.len(), 4, "{broken:?}");
        assert!(broken[0].starts_with("overlap is"), "{broken:?}");
        assert!(broken[3].ends_with("more than 1.9"), "{broken:?}");
    }

    #[test]
    fn it_is_said_when_only_one_side_folds_actions_in() {
        let server = |recent| ServerStats {
            recent,
            ..ServerStats::default()
        };
        let text = |baseline, candidate| {
            Report::new(&pairs(), 2, server(baseline), server(candidate)).to_string()
        };
        let said = text(0.5, 0.0);
        assert!(said.contains("only the baseline has answers"), "{said}");
        let said = text(0.0, 0.1);
        assert!(said.contains("only the candidate has answers"), "{said}");
        for same in [0.0, 0.5] {
            let said = text(same, same);
            assert!(!said.contains("only the"), "{said}");
        }
    }

    #[test]
    fn a_report_without_answers_is_broken() {
        let report = report(&[]).judged_by(&NO_THRESHOLDS);
        assert_eq!(report.broken, ["no pair of answers could be compared"]);
    }
}
