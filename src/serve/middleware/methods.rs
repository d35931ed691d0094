//! Labels of methods in metrics and traces.

use std::sync::LazyLock;

use rustc_hash::FxHashSet;

use crate::wire::{DESCRIPTORS, method_paths};

/// Label of all paths that are no method of this server. Anybody can call any path, so
/// a label for each would fill the memory.
const OTHER: &str = "other";

/// Descriptors of all services of this server.
const SERVED: [&[u8]; 4] = [
    DESCRIPTORS,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// Methods of this server, each as `package.Service/Method`.
static METHODS: LazyLock<FxHashSet<String>> =
    LazyLock::new(|| SERVED.into_iter().flat_map(method_paths).collect());

/// Returns the label of the method that `path` calls.
pub(super) fn method_label(path: &str) -> &'static str {
    let path = path.strip_prefix('/').unwrap_or(path);
    METHODS.get(path).map_or(OTHER, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second list, on purpose: a label that changes breaks dashboards.
    const LABELS: [&str; 24] = [
        "grpc.health.v1.Health/Check",
        "grpc.health.v1.Health/Watch",
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "pinnersage.v1.ActionService/FeedActions",
        "pinnersage.v1.ActionService/RecordActions",
        "pinnersage.v1.AdminService/BackupData",
        "pinnersage.v1.AdminService/EraseUser",
        "pinnersage.v1.AdminService/ExportActions",
        "pinnersage.v1.AdminService/FollowVersions",
        "pinnersage.v1.AdminService/GetStatus",
        "pinnersage.v1.AdminService/ImportActions",
        "pinnersage.v1.AdminService/ListVersions",
        "pinnersage.v1.AdminService/LoadVersions",
        "pinnersage.v1.AdminService/Rollback",
        "pinnersage.v1.CatalogService/DeletePins",
        "pinnersage.v1.CatalogService/ListChanges",
        "pinnersage.v1.CatalogService/UpsertPins",
        "pinnersage.v1.RecommendationService/BatchRecommend",
        "pinnersage.v1.RecommendationService/ExplainUser",
        "pinnersage.v1.RecommendationService/GetUserFeatures",
        "pinnersage.v1.RecommendationService/ListAttributes",
        "pinnersage.v1.RecommendationService/Recommend",
        "pinnersage.v1.RecommendationService/SimilarPins",
    ];

    #[test]
    fn every_method_of_the_descriptors_is_a_label() {
        let mut methods: Vec<&str> = METHODS.iter().map(String::as_str).collect();
        methods.sort_unstable();
        assert_eq!(methods, LABELS);
        for label in LABELS {
            assert_eq!(method_label(&format!("/{label}")), label);
        }
    }

    #[test]
    fn unknown_paths_share_a_label() {
        for path in [
            "",
            "/",
            "/x/y",
            "//pinnersage.v1.AdminService/Rollback",
            "/other",
        ] {
            assert_eq!(method_label(path), OTHER, "{path:?}");
        }
    }
}
