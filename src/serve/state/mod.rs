//! What a server holds and answers from, and how it is replaced while calls are answered.

pub(crate) mod changed_pins;
pub(crate) mod live;
pub(crate) mod recall_probe;
pub(crate) mod reload;
pub(crate) mod user_context;
