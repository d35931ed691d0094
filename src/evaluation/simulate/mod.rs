//! A world in which users act on pins, with a known truth.
//!
//! [`SimulatedWorld`] has pins in topics and topics in themes, with cosines as in real
//! embeddings: about 0.75 to 0.9 within a topic, 0.3 to 0.5 within a theme, about 0 beyond,
//! in 32 dimensions or more. [`UserGenerator`] draws users with 2 to 60 interests in topics,
//! mostly of different themes. An interest begins, fades over weeks, and may come back after
//! a break; within its topic the user drifts around a taste of her own. She acts in sessions
//! about one or two interests, in proportion to how strong they are then, and now and then
//! on any pin.
//!
//! The draws are a function of [`WorldParams`] and the generators alone. Each user may be
//! drawn by herself, with a generator of her own.

mod files;
mod generator;
mod interests;
mod params;
mod random;
mod user;
mod world;

pub use files::{SimulateError, SimulateParams, Simulated, write_world};
pub use generator::UserGenerator;
pub use interests::{Period, SimulatedInterest};
pub use params::{Activity, WorldError, WorldParams};
pub use user::{SimulatedAction, SimulatedUser};
pub use world::SimulatedWorld;
