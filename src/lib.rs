//! PinnerSage as a service: user actions in, personalized candidate lists out.
//!
//! # Two flows
//!
//! Offline, [`batch::build_profiles`]: files of actions -> group by user ->
//! [`cluster::build_profile`] (Ward's clusters, a medoid and an importance of each)
//! -> a versioned directory.
//!
//! Online, [`recommend::Recommender::recommend`]: look up the user's medoids -> sample a few
//! in proportion to importance -> retrieve the nearest pins of each -> merge. Seeds, which
//! are pins or vectors of the request, go the same way beside medoids or in their place.
//! [`serve::run`] puts it behind gRPC.
//!
//! Between two batches, what users do goes into [`actions`], which makes it durable
//! before it is acknowledged, and at the next read into the profile, by
//! [`cluster::fold_in`]; pins that change lie beside the catalog as an
//! [`index::Delta`]; new versions take the place of old ones in [`serve`].
//!
//! [`evaluation::evaluate`] measures the quality of recommendations: it replays what users
//! did through the same code. [`evaluation::simulate`] makes up users about whom everything
//! is known. Both are behind the feature `evaluation`, without which a server is built.
//!
//! # Layers
//!
//! Modules stand in reading order. One uses only modules of lower floors, and
//! those of one floor do not use each other.
//!
//! | floor | modules | what they are |
//! | --- | --- | --- |
//! | 0 | [`memory`], [`metrics`], [`setting_rules`], [`terminal`] | huge pages, mapped files, prefetching; names; rules for settings; what may be printed |
//! | 1 | [`kernel`], [`pool`] | inner loops over vectors, scratch memory |
//! | 2 | [`model`] | the nouns, whose constructors hold the invariants |
//! | 3 | [`cluster`], [`recommend`], [`compare`] | the pure cores: offline, online, how alike two answers are |
//! | 3 | [`snapshot`], [`durable`], [`progress`], [`wire`] | files, the log, bars, contract |
//! | 4 | [`actions`], [`archive`], [`index`], [`store`], [`telemetry`] | recent actions, and all as files; retrieval over pins, profiles by user, logging |
//! | 5 | [`batch`], [`serve`] | the shells, offline and online |
//! | 6 | [`evaluation`] | replay of what users did against what would have been recommended; simulated users |
//! | 6 | [`config`] | all settings: a section for each module that has some |
//! | 7 | [`cli`] | arguments in, what a person sees out |
//!
//! # Invariants
//!
//! Held by `tests/tidy/` where a text can show them, by other tests where not.
//!
//! 1. `kernel`, `model`, `cluster`, `compare`, `recommend` and `evaluation::simulate` do
//!    no I/O, read no clock, own no randomness and log nothing.
//! 2. Equal versions, neighbor lists, recorded actions, changed pins, settings,
//!    request and seed give equal bytes, on any machine, unless the answer says that it
//!    is degraded by load or for want of time. Time only ends the days in
//!    which a pin that was shown stays away, and counts those of `state_age`.
//! 3. A call sees one catalog, one set of profiles and one set of changed pins from
//!    begin to end.
//! 4. No bytes of a request can cause a panic.
//! 5. A status INTERNAL never carries the text of its cause.
//! 6. Types of tonic and prost stay in `wire`, `serve` and `cli`; the exporter of spans
//!    has its own.
//! 7. There is one Ward, one sampler, one merge; whoever needs one calls it.
//! 8. `unsafe` code stands in `memory` only.

pub mod memory;
pub mod metrics;
pub mod setting_rules;
pub mod terminal;

#[cfg_attr(
    not(test),
    deny(
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]
pub mod kernel;
pub mod pool;

#[cfg_attr(
    not(test),
    deny(
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]
pub mod model;

#[cfg_attr(
    not(test),
    deny(
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]
pub mod cluster;
#[cfg_attr(
    not(test),
    deny(
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]
pub mod compare;
#[cfg_attr(
    not(test),
    deny(
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::iter_over_hash_type
    )
)]
pub mod recommend;

pub mod durable;
pub mod progress;
pub mod snapshot;
pub mod telemetry;
pub mod wire;

pub mod actions;
pub mod archive;
pub mod index;
pub mod store;

pub mod batch;
pub mod serve;

#[cfg(feature = "evaluation")]
pub mod evaluation;

pub mod config;

pub mod cli;
