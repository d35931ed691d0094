//! Retrieval over the pins of one catalog: the pins themselves, their codes, the
//! graph, and the ways to find neighbors: lists made ahead of time, the graph
//! search, the exact scan. [`Index`] puts them together.

mod approximate;
mod build;
mod catalog;
mod catalog_manifest;
mod delta;
mod exact;
mod exact_lists;
mod graph;
mod graph_params;
mod graph_search;
mod lists_only;
mod lookups;
mod neighbor_cache;
mod neighbor_lists;
mod params;
mod pins;
mod quantization;
mod retrieve_by_vector;
mod rotation;
mod sketches;

pub use approximate::Approximate;
pub use build::build_graph;
pub use catalog::Catalog;
pub use catalog_manifest::CatalogManifest;
pub use delta::{Delta, DeltaCounts, DeltaRetriever, DeltaView};
pub use exact::Exact;
pub use exact_lists::exact_lists;
pub use graph::Graph;
pub use graph_params::GraphParams;
pub use lists_only::ListsOnly;
pub use lookups::Lookups;
pub use neighbor_cache::Index;
pub use neighbor_lists::{NeighborListManifest, NeighborLists};
pub use params::{IndexParams, NeighborParams};
pub use pins::{Pin, PinTable};
pub use quantization::QuantizedVectors;
pub use retrieve_by_vector::RetrieveByVector;
