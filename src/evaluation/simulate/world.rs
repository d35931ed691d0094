//! The geometry of pins: themes anywhere on the sphere, topics around themes, pins around
//! topics.
//!
//! A pin differs from the center of its topic in a few directions only, its style. So the
//! cosines within a topic spread as those of real embeddings do. Noise in all directions
//! would give all pairs about the same cosine.

use std::ops::Range;

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};

use super::params::WorldParams;
use super::random::{WeightedIndex, direction, dot, lognormal, normal, normalize};
use crate::model::PinId;

/// Topics of a theme, on average.
const TOPICS_A_THEME: usize = 40;
/// Squared cosine of a topic to its theme: about the cosine of two topics of one theme.
const OF_THEME: Range<f64> = 0.38..0.52;
/// Squared cosine of a pin to its topic: about the mean cosine of two pins of the topic.
const OF_TOPIC: Range<f64> = 0.76..0.88;
/// Directions in which the pins of a topic differ.
const STYLES: usize = 6;
/// Standard deviation of the logarithm of the number of pins of a topic.
const SIZE_SPREAD: f64 = 0.6;
/// The nth most popular pin of a topic is acted on in proportion to `n^-SKEW`.
const SKEW: f64 = 0.5;

/// The direction of a pin from the center of its topic: a unit vector.
pub(super) type Style = [f64; STYLES];

/// All pins: their topics, their styles, their popularity.
#[derive(Debug)]
pub struct SimulatedWorld {
    dimension: usize,
    themes: usize,
    topics: Vec<Topic>,
    /// By the number of the pin: the number of its topic.
    topic_of: Vec<u32>,
    /// By the number of the pin.
    styles: Vec<Style>,
}

/// A topic: its place on the sphere, and its pins.
#[derive(Debug)]
pub(super) struct Topic {
    /// Number of its theme.
    pub(super) theme: usize,
    center: Vec<f64>,
    /// Cosine of a pin to the center.
    tightness: f64,
    /// Unit vectors, each at a right angle to the center.
    styles: Vec<Vec<f64>>,
    /// By falling popularity.
    pub(super) pins: Vec<u32>,
}

impl SimulatedWorld {
    /// Draws all topics and pins.
    pub fn new(params: &WorldParams, rng: &mut impl Rng) -> Self {
        let &WorldParams {
            pins,
            topics,
            dimension,
            ..
        } = params;
        let themes = (topics as usize).div_ceil(TOPICS_A_THEME);
        let mut topics = draw_topics(themes, topics, dimension, rng);
        let topic_of = assign_pins(&mut topics, pins, rng);
        let styles = topic_of.iter().map(|_| style(rng)).collect();
        Self {
            dimension,
            themes,
            topics,
            topic_of,
            styles,
        }
    }

    /// Number of pins; their ids count from 0.
    pub fn pins(&self) -> u32 {
        self.topic_of.len() as u32
    }

    /// Number of themes.
    pub fn themes(&self) -> usize {
        self.themes
    }

    /// The topic of a pin.
    pub fn topic_of(&self, pin: PinId) -> u32 {
        self.topic_of[pin.0 as usize]
    }

    /// Appends the embedding of a pin to `out`.
    pub fn embed(&self, pin: PinId, out: &mut Vec<f32>) {
        let topic = &self.topics[self.topic_of(pin) as usize];
        let mut own = vec![0.0; self.dimension];
        for (direction, x) in topic.styles.iter().zip(self.style(pin.0 as u32)) {
            add(&mut own, *x, direction);
        }
        normalize(&mut own);
        let share = (1.0 - topic.tightness * topic.tightness).sqrt();
        let parts = topic.center.iter().zip(own);
        out.extend(parts.map(|(center, own)| (topic.tightness * center + share * own) as f32));
    }

    pub(super) fn topics(&self) -> &[Topic] {
        &self.topics
    }

    pub(super) fn style(&self, pin: u32) -> &Style {
        &self.styles[pin as usize]
    }
}

/// Topics without pins around `themes` themes, which are as uneven as topics.
fn draw_topics(themes: usize, topics: u32, dimension: usize, rng: &mut impl Rng) -> Vec<Topic> {
    let centers: Vec<Vec<f64>> = (0..themes).map(|_| direction(dimension, rng)).collect();
    let sizes = WeightedIndex::new((0..themes).map(|_| lognormal(1.0, SIZE_SPREAD, rng)));
    let mut topic = |_| {
        let theme = sizes.sample(rng).unwrap_or(0);
        Topic::around(theme, &centers[theme], rng)
    };
    (0..topics).map(&mut topic).collect()
}

/// Shares `pins` pins among `topics`. Returns the number of the topic of each pin.
fn assign_pins(topics: &mut [Topic], pins: u32, rng: &mut impl Rng) -> Vec<u32> {
    // Numbers say nothing about topic or popularity, because ties go by them.
    let mut numbers: Vec<u32> = (0..pins).collect();
    numbers.shuffle(rng);
    let mut topic_of = vec![0; numbers.len()];
    let sizes = sizes(numbers.len(), topics.len(), rng);
    let mut rest = numbers.as_slice();
    for ((number, topic), size) in (0..).zip(topics).zip(sizes) {
        let (pins, others) = rest.split_at(size);
        for &pin in pins {
            topic_of[pin as usize] = number;
        }
        topic.pins = pins.to_vec();
        rest = others;
    }
    topic_of
}

impl Topic {
    /// A topic without pins.
    fn around(theme: usize, center: &[f64], rng: &mut impl Rng) -> Self {
        let dimension = center.len();
        let of_theme = rng.random_range(OF_THEME);
        let mut own = across(center, rng);
        own.iter_mut().for_each(|x| *x *= (1.0 - of_theme).sqrt());
        add(&mut own, of_theme.sqrt(), center);
        let styles = (0..STYLES.min(dimension - 1)).map(|_| across(&own, rng));
        Self {
            theme,
            styles: styles.collect(),
            tightness: rng.random_range(OF_TOPIC).sqrt(),
            center: own,
            pins: Vec::new(),
        }
    }

    /// Weights of the pins, in proportion to how often each is acted on, in their order.
    pub(super) fn popularity(&self) -> impl Iterator<Item = f64> {
        (1..=self.pins.len()).map(|rank| libm::pow(rank as f64, -SKEW))
    }
}

/// Number of pins of each topic: at least 1, `pins` in all.
fn sizes(pins: usize, topics: usize, rng: &mut impl Rng) -> Vec<usize> {
    let weights: Vec<f64> = (0..topics)
        .map(|_| lognormal(1.0, SIZE_SPREAD, rng))
        .collect();
    let whole: f64 = weights.iter().sum();
    let spare = (pins - topics) as f64;
    // Rounding the borders instead of the sizes keeps the sum.
    let mut sum = 0.0;
    let mut last = 0;
    let sizes = weights.iter().map(|weight| {
        sum += weight;
        let border = (spare * sum / whole).round() as usize;
        let size = 1 + border - last;
        last = border;
        size
    });
    sizes.collect()
}

/// A unit vector at a right angle to a unit vector.
fn across(center: &[f64], rng: &mut impl Rng) -> Vec<f64> {
    let mut vector = direction(center.len(), rng);
    let along = dot(&vector, center);
    add(&mut vector, -along, center);
    normalize(&mut vector);
    vector
}

/// Adds `factor` times `vector` to `to`.
fn add(to: &mut [f64], factor: f64, vector: &[f64]) {
    to.iter_mut()
        .zip(vector)
        .for_each(|(to, x)| *to += factor * x);
}

/// A style of any direction.
pub(super) fn style(rng: &mut impl Rng) -> Style {
    let mut style = [0.0; STYLES];
    style.iter_mut().for_each(|x| *x = normal(rng));
    normalize(&mut style);
    style
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;
    use crate::evaluation::simulate::params::tests::params;

    fn world() -> (SimulatedWorld, Vec<Vec<f64>>) {
        let world = SimulatedWorld::new(&params(), &mut ChaCha8Rng::seed_from_u64(1));
        let vector = |pin| {
            let mut vector = Vec::new();
            world.embed(PinId(pin), &mut vector);
            vector.into_iter().map(f64::from).collect()
        };
        let vectors = (0..u64::from(world.pins())).map(vector).collect();
        (world, vectors)
    }

    #[test]
    fn pins_are_unit_vectors_and_each_has_one_topic() {
        let (world, vectors) = world();
        assert_eq!(vectors.len(), params().pins as usize);
        for vector in &vectors {
            assert_eq!(vector.len(), params().dimension);
            assert!((dot(vector, vector) - 1.0).abs() < 1e-6);
        }
        let sizes: Vec<usize> = world
            .topics()
            .iter()
            .map(|topic| topic.pins.len())
            .collect();
        assert_eq!(sizes.iter().sum::<usize>(), vectors.len());
        assert!(sizes.iter().all(|&size| size > 0));
        assert!(sizes.iter().max() > sizes.iter().min().map(|size| 5 * size).as_ref());
    }

    /// Mean and standard deviation.
    fn moments(numbers: &[f64]) -> (f64, f64) {
        let count = numbers.len() as f64;
        let mean = numbers.iter().sum::<f64>() / count;
        let squares = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
        (mean, (squares / count).sqrt())
    }

    #[test]
    fn cosines_are_as_promised_within_a_topic_a_theme_and_beyond() {
        let (world, vectors) = world();
        let topic = |pin: usize| world.topic_of(PinId(pin as u64)) as usize;
        let theme = |pin: usize| world.topics()[topic(pin)].theme;
        let (mut within, mut near, mut far) = (Vec::new(), Vec::new(), Vec::new());
        for a in 0..1_000 {
            for b in 0..a {
                let cosine = dot(&vectors[a], &vectors[b]);
                if topic(a) == topic(b) {
                    within.push(cosine);
                } else if theme(a) == theme(b) {
                    near.push(cosine);
                } else {
                    far.push(cosine);
                }
            }
        }
        let (mean, spread) = moments(&within);
        assert!((0.79..0.85).contains(&mean), "{mean}");
        assert!((0.05..0.12).contains(&spread), "{spread}");
        let (mean, spread) = moments(&near);
        assert!((0.32..0.42).contains(&mean), "{mean}");
        assert!(spread < 0.12, "{spread}");
        let (mean, spread) = moments(&far);
        assert!(mean.abs() < 0.1 && spread < 0.15, "{mean} {spread}");
    }

    #[test]
    fn popularity_falls_slowly() {
        let (world, _) = world();
        let topic = &world.topics()[0];
        let shares: Vec<f64> = topic.popularity().collect();
        assert_eq!(shares.len(), topic.pins.len());
        assert!(shares.is_sorted_by(|a, b| a > b));
        assert!(shares[0] / shares.iter().sum::<f64>() < 0.2);
    }
}
