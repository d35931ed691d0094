//! The inner loops over vectors.
//!
//! Each loop is written once, in plain Rust over a fixed number of lanes, and
//! compiled for every instruction set that `pulp` chooses from at run time. The
//! order of the additions is fixed by the lanes and no multiplication is fused
//! with an addition, so a machine with AVX-512 and one with SSE2 give the same
//! bits: a score does not depend on the machine that computed it. [`gram`] is the
//! exception, and says why.

mod codes;
mod dispatch;
mod dot;
pub mod gram;
mod rows;
mod sketches;

pub use codes::{CODE_LANES, dot_code_rows, dot_codes};
pub use dispatch::dispatch;
pub use dot::{add_weighted, dot, dot_rows, squared_l2, squared_l2_f64};
pub use sketches::{SKETCH_LANES, dot_sketch_rows, pack_sketch};
