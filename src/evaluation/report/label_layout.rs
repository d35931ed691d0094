//! Places for labels that overlap neither each other nor the points.

use super::svg::{CHARACTER_WIDTH, Position, position};

/// Height of a label.
pub(super) const LINE_HEIGHT: f64 = 15.0;
/// Width of the box that keeps labels off a point.
const POINT_WIDTH: f64 = 14.0;
/// Distances from a point at which a label is tried: the first one, the step to the next,
/// and their number.
const FIRST_DISTANCE: f64 = 10.0;
const DISTANCE_STEP: f64 = 9.0;
const DISTANCES: u32 = 20;

/// A rectangle that labels stay within.
#[derive(Clone, Copy, Debug)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

/// The box of a label.
#[derive(Clone, Copy, Debug)]
pub(super) struct LabelBox {
    pub(super) left: f64,
    pub(super) top: f64,
    width: f64,
}

/// A direction from a point to its label; each part is -1, 0 or 1.
#[derive(Clone, Copy)]
struct Side {
    across: f64,
    down: f64,
}

const fn side(across: f64, down: f64) -> Side {
    Side { across, down }
}

/// The sides of a point, best first.
const SIDES: [Side; 8] = [
    side(1.0, 0.0),
    side(-1.0, 0.0),
    side(1.0, -1.0),
    side(1.0, 1.0),
    side(-1.0, -1.0),
    side(-1.0, 1.0),
    side(0.0, -1.0),
    side(0.0, 1.0),
];

impl LabelBox {
    /// The box that keeps labels off a point.
    fn around_point(point: Position) -> Self {
        Self {
            left: point.x - POINT_WIDTH / 2.0,
            top: point.y - LINE_HEIGHT / 2.0,
            width: POINT_WIDTH,
        }
    }

    /// The box of a label beside a point. A label to the left ends at the point, one to
    /// the right begins there.
    fn beside(point: Position, width: f64, distance: f64, side: Side) -> Self {
        Self {
            left: point.x + side.across * distance - width * (1.0 - side.across) / 2.0,
            top: point.y + side.down * distance - LINE_HEIGHT / 2.0,
            width,
        }
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.left + other.width
            && other.left < self.left + self.width
            && self.top < other.top + LINE_HEIGHT
            && other.top < self.top + LINE_HEIGHT
    }

    fn is_within(&self, area: Area) -> bool {
        self.left >= area.left
            && self.left + self.width <= area.right
            && self.top >= area.top
            && self.top + LINE_HEIGHT <= area.bottom
    }

    /// The point of the box that is nearest to `point`.
    pub(super) fn nearest(&self, point: Position) -> Position {
        position(
            point.x.clamp(self.left, self.left + self.width),
            point.y.clamp(self.top, self.top + LINE_HEIGHT),
        )
    }
}

/// A box for the label of each point: the nearest one found around the point that is clear
/// of other labels and points. Where there is no room, labels overlap.
pub(super) fn place_labels(points: &[Position], texts: &[String], area: Area) -> Vec<LabelBox> {
    let boxes = points.iter().copied().map(LabelBox::around_point);
    let mut taken: Vec<LabelBox> = boxes.collect();
    for (&point, text) in points.iter().zip(texts) {
        let width = CHARACTER_WIDTH * text.chars().count() as f64;
        let mut boxes = boxes_around(point, width);
        let is_free = |label: &LabelBox| {
            label.is_within(area) && !taken.iter().any(|other| label.overlaps(other))
        };
        let found = boxes.find(is_free);
        let label =
            found.unwrap_or_else(|| LabelBox::beside(point, width, FIRST_DISTANCE, SIDES[0]));
        taken.push(label);
    }
    taken.split_off(points.len())
}

/// Boxes around a point, the nearest ones first.
fn boxes_around(point: Position, width: f64) -> impl Iterator<Item = LabelBox> {
    let distances = (0..DISTANCES).map(|n| FIRST_DISTANCE + DISTANCE_STEP * f64::from(n));
    distances
        .flat_map(move |distance| SIDES.map(|side| LabelBox::beside(point, width, distance, side)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_points_in_one_place_do_not_overlap() {
        let points = vec![position(400.0, 200.0); 12];
        let texts: Vec<String> = (0..12).map(|n| format!("pinnersage:medoids={n}")).collect();
        let area = Area {
            left: 0.0,
            top: 0.0,
            right: 800.0,
            bottom: 400.0,
        };
        let boxes = place_labels(&points, &texts, area);
        assert_eq!(boxes.len(), 12);
        for (at, one) in boxes.iter().enumerate() {
            assert!(one.is_within(area));
            assert!(boxes[..at].iter().all(|other| !one.overlaps(other)));
        }
    }
}
