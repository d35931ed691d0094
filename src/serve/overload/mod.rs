//! How much is searched at a time, and what is refused when that is too much.

pub(crate) mod limiter;
pub(crate) mod params;
pub(crate) mod workers;
