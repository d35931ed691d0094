//! Sampling weights as rates of arrival, shared by both ways to compute inclusion.

/// Smallest rate. Smaller ones are raised to it, so that their reciprocals are finite.
const MIN_RATE: f64 = 1e-280;

/// Sampling weights as shares of their sum, which is 1.
#[derive(Debug, Default)]
pub(super) struct Rates {
    /// Rates of the medoids whose probability is asked for.
    pub(super) asked: Vec<f64>,
    /// Rates of all medoids, with 0 for those that are asked for.
    pub(super) others: Vec<f64>,
    /// Sum of all rates but the greatest. It is the distance of the greatest rate from 1,
    /// which a subtraction would lose when one weight dominates.
    pub(super) without_greatest: f64,
}

impl Rates {
    /// Replaces the rates by those of `weights`, of which the ones at `positions` are asked
    /// for.
    pub(super) fn fill(&mut self, weights: &[f64], positions: &[usize]) {
        let Self {
            asked,
            others,
            without_greatest,
        } = self;
        let greater = |a, b| if weights[b] > weights[a] { b } else { a };
        let greatest = (0..weights.len()).reduce(greater).unwrap_or(0);
        let scale = weights.get(greatest).copied().unwrap_or(1.0);
        others.clear();
        // Scaling comes first: a sum of weights near f64::MAX would not be finite.
        others.extend(weights.iter().map(|weight| weight / scale));
        let (before, after) = (&others[..greatest], &others[greatest + 1..]);
        let rest = before.iter().sum::<f64>() + after.iter().sum::<f64>();
        let share = 1.0 / (1.0 + rest);
        *without_greatest = rest * share;
        for rate in &mut *others {
            *rate = (*rate * share).max(MIN_RATE);
        }
        asked.clear();
        asked.extend(
            positions
                .iter()
                .map(|&position| std::mem::take(&mut others[position])),
        );
    }
}
