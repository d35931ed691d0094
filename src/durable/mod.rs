//! What a server must not lose: recorded actions and changes of pins, in an embedded
//! log-structured store (fjall) under one directory.

mod log;
mod records;
mod recovery;

pub use log::{Log, LogError};
pub use records::PinRecord;
pub use recovery::TruncatedTails;
