//! The gRPC services: convert, validate, call, convert back.
//!
//! One file a service: `recommendation` (with `validated_request` and what it uses: `request`
//! and `response` for its messages, `candidate_columns`, `seeds`, `context_pin`, `reranking`,
//! `page`, `page_token`, `next_page`, `user_features`, `request_context`, `search_budget`,
//! `stage_timer`),
//! `actions`, `catalog`, `admin` (with `version_messages`,
//! `action_log_status`, `action_streams` and `backup`).
//! `action_recorder` records what any of them takes, `ids` reads how they call users and
//! pins, and `times` how they tell moments. `routes` puts them behind their layers.
//! Limits of requests are in `serve::request_limits`.

mod action_log_status;
mod action_recorder;
mod action_streams;
mod actions;
mod admin;
mod attributes;
mod backup;
mod candidate_columns;
mod catalog;
mod context_pin;
mod ids;
mod next_page;
mod page;
mod page_token;
mod recommendation;
mod request;
mod request_context;
mod reranking;
mod response;
mod routes;
mod search_budget;
mod seeds;
mod stage_timer;
mod times;
mod user_features;
mod validated_request;
mod version_messages;

pub(crate) use routes::{RouteParts, service};
