//! Retrieval over the pins of one catalog: the pins themselves, their codes, the
//! graph, and the ways to find neighbors: lists made ahead of time, the graph
//! search, the exact scan. [`Index`] puts them together.

mod approximate;
mod attribute_builder;
mod attribute_columns;
mod attribute_facts;
mod attribute_table;
mod build;
mod catalog;
mod catalog_manifest;
mod delta;
mod exact;
mod exact_lists;
mod filtered;
mod graph;
mod graph_params;
mod graph_search;
mod id_buckets;
mod lists_only;
mod lookups;
mod neighbor_cache;
mod neighbor_lists;
mod params;
mod pins;
mod quantization;
mod ranking;
mod reranker;
mod rotation;
mod selected_scan;
mod selection;
mod sketches;

pub use approximate::Approximate;
pub use attribute_builder::AttributeBuilder;
pub use attribute_facts::AttributeFacts;
pub use attribute_table::{AttributeTable, DamagedAttribute};
pub use build::build_graph;
pub use catalog::{Catalog, CatalogParts};
pub use catalog_manifest::CatalogManifest;
pub use delta::{Delta, DeltaCounts, DeltaRetriever, DeltaView, UpsertedPin};
pub use exact::Exact;
pub use exact_lists::exact_lists;
pub use filtered::Filtered;
pub use graph::Graph;
pub use graph_params::GraphParams;
pub use lists_only::ListsOnly;
pub use lookups::Lookups;
pub use neighbor_cache::Index;
pub use neighbor_lists::{NeighborListManifest, NeighborLists};
pub use params::{FilterParams, IndexParams, NeighborParams};
pub use pins::{Pin, PinTable};
pub use quantization::QuantizedVectors;
pub use reranker::Reranker;
pub use selection::Selection;
