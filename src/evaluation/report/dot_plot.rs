//! Rows of dots with error bars.

use super::scale::{Scale, Span};
use super::svg::{CHARACTER_WIDTH, MAX_LABEL, Svg, WIDTH, position, shortened};
use crate::evaluation::metrics::Estimate;

/// A row of [`dot_plot`].
pub(super) struct Row<'a> {
    pub(super) label: &'a str,
    /// One estimate for each group.
    pub(super) estimates: Vec<Estimate>,
}

/// Draws rows of dots with error bars, one below the other within each row. With a single
/// group, its values stand beside the dots; with more, `groups` names them.
pub(super) fn dot_plot(title: &str, unit: &str, groups: &[&str], rows: &[Row<'_>]) -> String {
    let layout = Layout::new(groups, rows);
    let mut svg = Svg::new(title, layout.bottom + 42.0);
    layout.draw_axis(&mut svg, unit);
    if !layout.is_single {
        layout.draw_legend(&mut svg);
    }
    for (at, row) in rows.iter().enumerate() {
        layout.draw_row(&mut svg, at, row);
    }
    svg.finish()
}

/// Where everything is drawn.
struct Layout<'a> {
    groups: &'a [&'a str],
    is_single: bool,
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    row_height: f64,
    scale: Scale,
}

impl<'a> Layout<'a> {
    fn new(groups: &'a [&'a str], rows: &[Row<'_>]) -> Self {
        let longest = rows.iter().map(|row| row.label.chars().count()).max();
        let left = 16.0 + CHARACTER_WIDTH * longest.unwrap_or(0).min(MAX_LABEL) as f64;
        let is_single = groups.len() == 1;
        let right = WIDTH - if is_single { 190.0 } else { 20.0 };
        let top = if is_single { 8.0 } else { 30.0 };
        let row_height = 12.0 + 12.0 * groups.len() as f64;
        let estimates = rows.iter().flat_map(|row| row.estimates.iter().copied());
        Self {
            groups,
            is_single,
            left,
            right,
            top,
            bottom: top + row_height * rows.len() as f64,
            row_height,
            scale: Scale::over(
                estimates,
                Span {
                    from: left,
                    to: right,
                },
            ),
        }
    }

    fn draw_axis(&self, svg: &mut Svg, unit: &str) {
        let &Self { top, bottom, .. } = self;
        for tick in self.scale.ticks() {
            let x = self.scale.at(tick.value);
            svg.line("grid", position(x, top), position(x, bottom));
            svg.text("tick middle", position(x, bottom + 16.0), &tick.text);
        }
        let middle = (self.left + self.right) / 2.0;
        svg.text("axis middle", position(middle, bottom + 34.0), unit);
    }

    fn draw_legend(&self, svg: &mut Svg) {
        let mut x = self.left;
        for (group, name) in self.groups.iter().enumerate() {
            svg.dot(group, position(x + 5.0, 14.0), name);
            svg.text("label", position(x + 14.0, 18.0), name);
            x += 40.0 + CHARACTER_WIDTH * name.len() as f64;
        }
    }

    /// Draws the row that is the one `at` this position.
    fn draw_row(&self, svg: &mut Svg, at: usize, row: &Row<'_>) {
        let middle = self.top + self.row_height * (at as f64 + 0.5);
        let label = position(self.left - 10.0, middle + 4.0);
        svg.text("label end", label, &shortened(row.label));
        let groups = self.groups.len() as f64;
        for (group, estimate) in row.estimates.iter().enumerate() {
            let y = middle + 12.0 * (group as f64 - 0.5 * (groups - 1.0));
            let [low, high] = estimate.interval;
            let [west, center, east] =
                [low, estimate.value, high].map(|value| position(self.scale.at(value), y));
            svg.line(&format!("whisker g{group}"), west, east);
            let text = format!("{:.2} [{low:.2}, {high:.2}]", estimate.value);
            let tooltip = format!("{}, {}: {text}", row.label, self.groups[group]);
            svg.dot(group, center, &tooltip);
            if self.is_single {
                svg.text("tick", position(self.right + 12.0, y + 4.0), &text);
            }
        }
    }
}
