//! Seeds: what a request asks for pins near to, beside the medoids of the user or in their
//! place.

use crate::model::PinId;

/// What neighbors are retrieved for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target<'a> {
    /// A pin that the catalog has. It is no candidate.
    Pin(PinId),
    /// A unit vector of the catalog's dimension.
    Vector(&'a [f32]),
}

/// A target that the request names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Seed<'a> {
    /// What it is.
    pub target: Target<'a>,
    /// Share of the candidates, relative to other seeds, and to 1 for all sampled medoids
    /// together. Finite and above 0.
    pub weight: f64,
}

/// How seeds and medoids stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedMode {
    /// Seeds stand beside the medoids that are drawn.
    Join,
    /// Seeds stand in place of medoids. Without any, the popular medoids do.
    Replace,
    /// There are seeds only. Without any, there are no candidates.
    Only,
}

/// The seeds of one request.
#[derive(Clone, Copy, Debug)]
pub struct Seeds<'a> {
    /// In the order of the request.
    pub list: &'a [Seed<'a>],
    /// How they and the medoids stand to each other.
    pub mode: SeedMode,
}

impl Seeds<'_> {
    /// The seeds of a request that has none: the medoids are sampled.
    pub const NONE: Self = Self {
        list: &[],
        mode: SeedMode::Join,
    };
}
