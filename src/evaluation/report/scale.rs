//! Scales from values to coordinates, and their ticks.

use crate::evaluation::metrics::Estimate;

/// A range from one end to the other, which may be the smaller one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: f64,
    pub(super) to: f64,
}

/// A linear map from values to coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    values: Span,
    coordinates: Span,
}

/// A round value of a scale, and its text.
#[derive(Clone, Debug)]
pub(super) struct Tick {
    pub(super) value: f64,
    pub(super) text: String,
}

impl Scale {
    /// A scale over all of `estimates` with their intervals, and some margin.
    pub(super) fn over(estimates: impl Iterator<Item = Estimate>, coordinates: Span) -> Self {
        let ends = estimates.flat_map(|Estimate { value, interval }| {
            let [low, high] = interval;
            [value, low, high]
        });
        let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| {
            (low.min(end), high.max(end))
        });
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        // Equal values need a scale, too.
        let margin = 0.06 * (high - low).max(1e-3 * high.abs()).max(1e-6);
        Self {
            values: Span {
                from: low - margin,
                to: high + margin,
            },
            coordinates,
        }
    }

    /// The coordinate of `value`.
    pub(super) fn at(self, value: f64) -> f64 {
        let share = (value - self.values.from) / (self.values.to - self.values.from);
        self.coordinates.from + share * (self.coordinates.to - self.coordinates.from)
    }

    /// About five round values.
    pub(super) fn ticks(self) -> Vec<Tick> {
        let Span { from, to } = self.values;
        let rough = (to - from) / 5.0;
        let power = rough.log10().floor();
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|step| step * 10f64.powf(power))
            .into_iter()
            .find(|&step| step >= rough)
            .unwrap_or(rough);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (from / step).ceil() as i64;
        let values = (first..).map(|n| n as f64 * step);
        let values = values.take_while(|&value| value <= to);
        let tick = |value| Tick {
            value,
            text: format!("{value:.decimals$}"),
        };
        values.map(tick).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(value: f64, interval: [f64; 2]) -> Estimate {
        Estimate::new(value, interval)
    }

    const COORDINATES: Span = Span {
        from: 0.0,
        to: 100.0,
    };

    #[test]
    fn ticks_are_round_and_within_the_scale() {
        let scale = Scale::over([estimate(31.0, [29.8, 37.2])].into_iter(), COORDINATES);
        let texts: Vec<String> = scale.ticks().into_iter().map(|tick| tick.text).collect();
        assert_eq!(texts, ["30", "32", "34", "36"]);
        assert!(scale.at(29.8) > 0.0 && scale.at(37.2) < 100.0);
        let same = Scale::over([estimate(0.5, [0.5, 0.5])].into_iter(), COORDINATES);
        assert!((same.at(0.5) - 50.0).abs() < 1e-6 && !same.ticks().is_empty());
        let none = Scale::over(std::iter::empty(), COORDINATES);
        assert_eq!(none.ticks().len(), 3);
    }
}
