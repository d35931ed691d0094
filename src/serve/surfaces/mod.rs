//! Surfaces, the places that ask for candidates, such as a homefeed; and arms, the labels by
//! which callers tell their experiments apart.
//!
//! Files in reading order, each using only those before it: `label` (the alphabet of names),
//! `params` (settings of surfaces), `source` (how they are read again), `request` (what a
//! surface makes of a request), `surface` (one of them, with its rate), `arms` (those that
//! metrics tell apart), `call` (what one request names), `table` (all surfaces of a server).

mod arms;
mod call;
mod label;
mod params;
mod request;
mod source;
mod surface;
mod table;

pub(crate) use call::CallLabels;
pub use params::{RequestField, SurfaceParams, SurfaceSet};
pub use source::{ReadSurfaces, SurfaceReader, SurfaceSource};
pub(crate) use table::Surfaces;
