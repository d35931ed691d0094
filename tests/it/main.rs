//! Black-box tests: over the wire, over the command line, and over the library's own
//! offline functions. One binary, one module per subject.

mod common;

mod actions;
mod archive;
mod bad_input;
mod batch_and_server;
mod canary;
mod cli;
mod columns;
mod context_pin;
mod crash;
mod demo;
mod erase;
#[cfg(feature = "evaluation")]
mod evaluate;
#[cfg(feature = "evaluation")]
mod evaluate_shapes;
mod filters;
mod fleet;
mod formats;
mod full_disk;
mod fuzz;
mod golden;
mod input;
#[cfg(feature = "kafka")]
mod kafka_log;
mod keys;
mod nats_log;
mod offline;
mod operations;
mod overload;
mod pages;
mod pins;
mod protocol;
mod ranker;
mod recall;
mod recommend;
mod related;
mod reranking;
#[cfg(feature = "evaluation")]
mod resume;
mod security;
mod seeds;
#[cfg(feature = "evaluation")]
mod simulate;
mod string_ids;
mod string_ids_server;
mod surfaces;
mod terminal;
#[cfg(feature = "otlp")]
mod trace;
#[cfg(feature = "evaluation")]
mod tune;
mod versions;
