//! Labeled points with error bars in two directions.

use super::label_layout::{Area, LINE_HEIGHT, place_labels};
use super::scale::{Scale, Span};
use super::svg::{Position, Svg, WIDTH, position, shortened};
use crate::evaluation::metrics::Estimate;

const HEIGHT: f64 = 520.0;
/// Where points are drawn.
const AREA: Area = Area {
    left: 64.0,
    top: 12.0,
    right: WIDTH - 16.0,
    bottom: HEIGHT - 50.0,
};
/// Distance from a point beyond which a line leads to its label.
const LEADER_DISTANCE: f64 = 12.0;

/// A point of [`scatter_plot`].
pub(super) struct Point<'a> {
    pub(super) label: &'a str,
    pub(super) x: Estimate,
    pub(super) y: Estimate,
}

/// The units of both axes.
#[derive(Clone, Copy)]
pub(super) struct Axes<'a> {
    pub(super) x: &'a str,
    pub(super) y: &'a str,
}

/// Draws labeled points with error bars. Each of `paths` joins points by their positions in
/// `points`.
pub(super) fn scatter_plot(
    title: &str,
    axes: Axes<'_>,
    points: &[Point<'_>],
    paths: &[Vec<usize>],
) -> String {
    let scales = Scales::over(points);
    let mut svg = Svg::new(title, HEIGHT);
    scales.draw_axes(&mut svg, axes);
    let positions: Vec<Position> = points.iter().map(|point| scales.position(point)).collect();
    for pair in paths.iter().flat_map(|path| path.windows(2)) {
        svg.line("path", positions[pair[0]], positions[pair[1]]);
    }
    for point in points {
        scales.draw_error_bars(&mut svg, point);
    }
    draw_labeled_dots(&mut svg, points, &positions);
    svg.finish()
}

struct Scales {
    x: Scale,
    y: Scale,
}

impl Scales {
    fn over(points: &[Point<'_>]) -> Self {
        let across = Span {
            from: AREA.left,
            to: AREA.right,
        };
        let upward = Span {
            from: AREA.bottom,
            to: AREA.top,
        };
        Self {
            x: Scale::over(points.iter().map(|point| point.x), across),
            y: Scale::over(points.iter().map(|point| point.y), upward),
        }
    }

    fn position(&self, point: &Point<'_>) -> Position {
        position(self.x.at(point.x.value), self.y.at(point.y.value))
    }

    fn draw_axes(&self, svg: &mut Svg, axes: Axes<'_>) {
        let Area {
            left,
            top,
            right,
            bottom,
        } = AREA;
        for tick in self.x.ticks() {
            let x = self.x.at(tick.value);
            svg.line("grid", position(x, top), position(x, bottom));
            svg.text("tick middle", position(x, bottom + 18.0), &tick.text);
        }
        for tick in self.y.ticks() {
            let y = self.y.at(tick.value);
            svg.line("grid", position(left, y), position(right, y));
            svg.text("tick end", position(left - 8.0, y + 4.0), &tick.text);
        }
        let middle = (left + right) / 2.0;
        svg.text("axis middle", position(middle, bottom + 40.0), axes.x);
        svg.text_upward("axis middle", (top + bottom) / 2.0, axes.y);
    }

    fn draw_error_bars(&self, svg: &mut Svg, point: &Point<'_>) {
        let Position { x, y } = self.position(point);
        let [west, east] = point.x.interval.map(|end| position(self.x.at(end), y));
        let [south, north] = point.y.interval.map(|end| position(x, self.y.at(end)));
        svg.line("whisker g0 thin", west, east);
        svg.line("whisker g0 thin", south, north);
    }
}

fn draw_labeled_dots(svg: &mut Svg, points: &[Point<'_>], positions: &[Position]) {
    let texts: Vec<String> = points.iter().map(|point| shortened(point.label)).collect();
    let boxes = place_labels(positions, &texts, AREA);
    for (at, point) in points.iter().enumerate() {
        let (center, label) = (positions[at], boxes[at]);
        let nearest = label.nearest(center);
        if (nearest.x - center.x).hypot(nearest.y - center.y) > LEADER_DISTANCE {
            svg.line("leader", center, nearest);
        }
        let tooltip = format!(
            "{}: {:.3}, {:.2}",
            point.label, point.x.value, point.y.value
        );
        svg.dot(0, center, &tooltip);
        let baseline = position(label.left, label.top + 0.75 * LINE_HEIGHT);
        svg.text("label", baseline, &texts[at]);
    }
}
