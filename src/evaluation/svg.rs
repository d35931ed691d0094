//! Plots as inline SVG: plain text, drawn by functions. Colors come from the style
//! sheet of the page, by class, so that they follow its light or dark scheme.

use std::fmt::Write as _;

use super::bootstrap::Interval;

const WIDTH: f64 = 960.0;
/// Width of a character of the labels, which are in a monospaced font.
const CHARACTER: f64 = 7.3;
const LINE: f64 = 15.0;
/// Longest label; the whole name is in the tooltip.
const LONGEST: usize = 46;
/// Height of the scatter plot.
const HEIGHT: f64 = 520.0;

/// What is measured of one row or point: the value and its interval.
pub(super) type Mark = (f64, Interval);

/// `text` where HTML or SVG has text or a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // HTML has no way to write most of them.
            control if control.is_control() => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}

/// From values to places.
#[derive(Clone, Copy)]
struct Scale {
    values: (f64, f64),
    places: (f64, f64),
}

impl Scale {
    /// A scale over all of `marks` with their intervals, and some room.
    fn over(marks: impl Iterator<Item = Mark>, places: (f64, f64)) -> Self {
        let ends = marks.flat_map(|(value, interval)| [value, interval[0], interval[1]]);
        let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), end| {
            (low.min(end), high.max(end))
        });
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        // Equal values need a scale, too.
        let room = 0.06 * (high - low).max(1e-3 * high.abs()).max(1e-6);
        Self {
            values: (low - room, high + room),
            places,
        }
    }

    fn at(self, value: f64) -> f64 {
        let share = (value - self.values.0) / (self.values.1 - self.values.0);
        self.places.0 + share * (self.places.1 - self.places.0)
    }

    /// Round values, about five, each with its text.
    fn ticks(self) -> Vec<(f64, String)> {
        let (low, high) = self.values;
        let rough = (high - low) / 5.0;
        let power = rough.log10().floor();
        let step = [1.0, 2.0, 5.0, 10.0]
            .map(|step| step * 10f64.powf(power))
            .into_iter()
            .find(|&step| step >= rough)
            .unwrap_or(rough);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        let first = (low / step).ceil() as i64;
        let ticks = (first..).map(|n| n as f64 * step);
        let ticks = ticks.take_while(|&tick| tick <= high);
        ticks
            .map(|tick| (tick, format!("{tick:.decimals$}")))
            .collect()
    }
}

/// A row of [`dots`].
pub(super) struct Row<'a> {
    pub(super) label: &'a str,
    /// One for each group.
    pub(super) marks: Vec<Mark>,
}

/// Rows of dots with error bars, one below the other in each row. With one group, its
/// values stand beside the dots; with more, `groups` names them.
pub(super) fn dots(about: &str, unit: &str, groups: &[&str], rows: &[Row<'_>]) -> String {
    let longest = rows.iter().map(|row| row.label.chars().count()).max();
    let left = 16.0 + CHARACTER * longest.unwrap_or(0).min(LONGEST) as f64;
    let single = groups.len() == 1;
    let right = if single { 190.0 } else { 20.0 };
    let top = if single { 8.0 } else { 30.0 };
    let row_height = 12.0 + 12.0 * groups.len() as f64;
    let bottom = top + row_height * rows.len() as f64;
    let marks = rows.iter().flat_map(|row| row.marks.iter().copied());
    let scale = Scale::over(marks, (left, WIDTH - right));
    let mut svg = begin(about, bottom + 42.0);
    for (x, text) in scale
        .ticks()
        .into_iter()
        .map(|(tick, text)| (scale.at(tick), text))
    {
        line(&mut svg, "grid", (x, top), (x, bottom));
        label(&mut svg, "tick middle", (x, bottom + 16.0), &text);
    }
    let middle = (left + WIDTH - right) / 2.0;
    label(&mut svg, "axis middle", (middle, bottom + 34.0), unit);
    let mut x = left;
    for (group, name) in groups.iter().enumerate().filter(|_| !single) {
        dot(&mut svg, group, (x + 5.0, 14.0), name);
        label(&mut svg, "label", (x + 14.0, 18.0), name);
        x += 40.0 + CHARACTER * name.len() as f64;
    }
    for (at, row) in rows.iter().enumerate() {
        let middle = top + row_height * (at as f64 + 0.5);
        label(
            &mut svg,
            "label end",
            (left - 10.0, middle + 4.0),
            &cut(row.label),
        );
        for (group, &(value, [low, high])) in row.marks.iter().enumerate() {
            let y = middle + 12.0 * (group as f64 - 0.5 * (groups.len() as f64 - 1.0));
            let class = format!("whisker g{group}");
            line(&mut svg, &class, (scale.at(low), y), (scale.at(high), y));
            let text = format!("{value:.2} [{low:.2}, {high:.2}]");
            let tooltip = format!("{}, {}: {text}", row.label, groups[group]);
            dot(&mut svg, group, (scale.at(value), y), &tooltip);
            if single {
                label(&mut svg, "tick", (WIDTH - right + 12.0, y + 4.0), &text);
            }
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// A point of [`scatter`].
pub(super) struct Point<'a> {
    pub(super) label: &'a str,
    pub(super) x: Mark,
    pub(super) y: Mark,
}

/// Labelled points with error bars. `paths` joins points, by their places.
pub(super) fn scatter(
    about: &str,
    (x_unit, y_unit): (&str, &str),
    points: &[Point<'_>],
    paths: &[Vec<usize>],
) -> String {
    let (left, right, top, bottom) = (64.0, WIDTH - 16.0, 12.0, HEIGHT - 50.0);
    let across = Scale::over(points.iter().map(|point| point.x), (left, right));
    let up = Scale::over(points.iter().map(|point| point.y), (bottom, top));
    let mut svg = begin(about, HEIGHT);
    for (tick, text) in across.ticks() {
        let x = across.at(tick);
        line(&mut svg, "grid", (x, top), (x, bottom));
        label(&mut svg, "tick middle", (x, bottom + 18.0), &text);
    }
    for (tick, text) in up.ticks() {
        let y = up.at(tick);
        line(&mut svg, "grid", (left, y), (right, y));
        label(&mut svg, "tick end", (left - 8.0, y + 4.0), &text);
    }
    let middle = (left + right) / 2.0;
    label(&mut svg, "axis middle", (middle, bottom + 40.0), x_unit);
    let y = (top + bottom) / 2.0;
    let _ = writeln!(
        svg,
        "<text class=\"axis middle\" transform=\"translate(14 {y:.1}) rotate(-90)\">{}</text>",
        escape(y_unit)
    );
    let place = |point: &Point<'_>| (across.at(point.x.0), up.at(point.y.0));
    for path in paths {
        for pair in path.windows(2) {
            let [from, to] = [pair[0], pair[1]].map(|at| place(&points[at]));
            line(&mut svg, "path", from, to);
        }
    }
    for point in points {
        let (x, y) = place(point);
        let [west, east] = point.x.1.map(|value| across.at(value));
        let [south, north] = point.y.1.map(|value| up.at(value));
        line(&mut svg, "whisker g0 thin", (west, y), (east, y));
        line(&mut svg, "whisker g0 thin", (x, south), (x, north));
    }
    let places: Vec<(f64, f64)> = points.iter().map(place).collect();
    let texts: Vec<String> = points.iter().map(|point| cut(point.label)).collect();
    let boxes = place_labels(&places, &texts, (left, top, right, bottom));
    for ((point, text), (at, label_box)) in points.iter().zip(&texts).zip(places.iter().zip(boxes))
    {
        let near = label_box.nearest(*at);
        if (near.0 - at.0).hypot(near.1 - at.1) > 12.0 {
            line(&mut svg, "leader", *at, near);
        }
        let tooltip = format!("{}: {:.3}, {:.2}", point.label, point.x.0, point.y.0);
        dot(&mut svg, 0, *at, &tooltip);
        let baseline = (label_box.left, label_box.top + 0.75 * LINE);
        label(&mut svg, "label", baseline, text);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Where a label lies.
#[derive(Clone, Copy, Debug)]
struct LabelBox {
    left: f64,
    top: f64,
    width: f64,
}

impl LabelBox {
    fn overlaps(&self, other: &Self) -> bool {
        self.left < other.left + other.width
            && other.left < self.left + self.width
            && self.top < other.top + LINE
            && other.top < self.top + LINE
    }

    fn nearest(&self, (x, y): (f64, f64)) -> (f64, f64) {
        let x = x.clamp(self.left, self.left + self.width);
        (x, y.clamp(self.top, self.top + LINE))
    }
}

/// A place for the label of each point, near it and clear of the other labels and
/// points while there is room: the nearest such place that is found around the point.
fn place_labels(
    points: &[(f64, f64)],
    texts: &[String],
    (left, top, right, bottom): (f64, f64, f64, f64),
) -> Vec<LabelBox> {
    let dot = |&(x, y): &(f64, f64)| LabelBox {
        left: x - 7.0,
        top: y - LINE / 2.0,
        width: 14.0,
    };
    let mut taken: Vec<LabelBox> = points.iter().map(dot).collect();
    let mut placed = Vec::new();
    for (&(x, y), text) in points.iter().zip(texts) {
        let width = CHARACTER * text.chars().count() as f64;
        let around = |(distance, (across, down)): (f64, (f64, f64))| LabelBox {
            // A label to the left ends at the point, one to the right begins there.
            left: x + across * distance - width * (1.0 - across) / 2.0,
            top: y + down * distance - LINE / 2.0,
            width,
        };
        let sides = [
            (1.0, 0.0),
            (-1.0, 0.0),
            (1.0, -1.0),
            (1.0, 1.0),
            (-1.0, -1.0),
            (-1.0, 1.0),
            (0.0, -1.0),
            (0.0, 1.0),
        ];
        let distances = (0..20).map(|step| 10.0 + 9.0 * f64::from(step));
        let mut candidates =
            distances.flat_map(|distance| sides.map(|side| around((distance, side))));
        let fits = |label: &LabelBox| {
            label.left >= left
                && label.left + width <= right
                && label.top >= top
                && label.top + LINE <= bottom
                && !taken.iter().any(|other| label.overlaps(other))
        };
        let found = candidates.find(fits);
        let found = found.unwrap_or_else(|| around((10.0, sides[0])));
        taken.push(found);
        placed.push(found);
    }
    placed
}

fn begin(about: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">\n",
        escape(about)
    )
}

// Writing to a string cannot fail.

fn line(svg: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn dot(svg: &mut String, group: usize, (x, y): (f64, f64), tooltip: &str) {
    let _ = writeln!(
        svg,
        "<circle class=\"dot g{group}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"><title>{}</title></circle>",
        escape(tooltip)
    );
}

fn label(svg: &mut String, class: &str, (x, y): (f64, f64), text: &str) {
    let _ = writeln!(
        svg,
        "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{}</text>",
        escape(text)
    );
}

fn cut(text: &str) -> String {
    match text.chars().count() > LONGEST {
        true => text.chars().take(LONGEST - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_markup() {
        let escaped = escape("<a href='x'>&\"\u{7}</a>");
        assert_eq!(
            escaped,
            "&lt;a href=&#39;x&#39;&gt;&amp;&quot;\u{fffd}&lt;/a&gt;"
        );
    }

    #[test]
    fn ticks_are_round_and_within_the_scale() {
        let scale = Scale::over([(31.0, [29.8, 37.2])].into_iter(), (0.0, 100.0));
        let texts: Vec<String> = scale.ticks().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["30", "32", "34", "36"]);
        assert!(scale.at(29.8) > 0.0 && scale.at(37.2) < 100.0);
        let same = Scale::over([(0.5, [0.5, 0.5])].into_iter(), (0.0, 100.0));
        assert!((same.at(0.5) - 50.0).abs() < 1e-6 && !same.ticks().is_empty());
        let none = Scale::over(std::iter::empty(), (0.0, 1.0));
        assert_eq!(none.ticks().len(), 3);
    }

    #[test]
    fn labels_of_points_in_one_place_do_not_overlap() {
        let points = vec![(400.0, 200.0); 12];
        let texts: Vec<String> = (0..12).map(|n| format!("pinnersage:medoids={n}")).collect();
        let boxes = place_labels(&points, &texts, (0.0, 0.0, 800.0, 400.0));
        for (at, one) in boxes.iter().enumerate() {
            assert!(boxes[..at].iter().all(|other| !one.overlaps(other)));
        }
    }
}
