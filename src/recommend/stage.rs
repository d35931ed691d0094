//! The stages of the flow, and the seam where the shell times them.

/// A stage of the flow, in execution order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Selects the medoids to sample from.
    Lookup,
    /// Draws medoids.
    Sample,
    /// Asks the index for neighbors.
    Retrieve,
    /// Merges the neighbor lists into one.
    Merge,
}

/// The seam where the shell times stages.
pub trait StageObserver {
    /// Runs `work`, which is a part of `stage`, and returns its result.
    fn observe<T>(&self, stage: Stage, work: impl FnOnce() -> T) -> T;
}

/// An observer that times nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unobserved;

impl StageObserver for Unobserved {
    fn observe<T>(&self, _: Stage, work: impl FnOnce() -> T) -> T {
        work()
    }
}
