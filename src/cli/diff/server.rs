//! One of the two servers that are compared, and its answers so far.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::cli::client::{self, Connection, TlsArgs};
use crate::wire::v1;
use crate::wire::v1::recommendation_service_client::RecommendationServiceClient;

/// A server and statistics of its answers.
pub(super) struct Server {
    client: RecommendationServiceClient<Connection>,
    latencies: Vec<Duration>,
    failed: usize,
    degraded: usize,
    recent: usize,
    build: String,
    catalog_version: String,
    profile_version: String,
}

/// Figures of one server; shares are from 0 to 1.
#[derive(Debug, Default, Serialize)]
pub(super) struct ServerStats {
    pub(super) build: String,
    pub(super) catalog_version: String,
    pub(super) profile_version: String,
    /// Share of calls that failed.
    pub(super) failed: f64,
    /// Share of calls whose answer was degraded.
    pub(super) degraded: f64,
    /// Share of calls whose answer rests on actions recorded since the batch.
    pub(super) recent: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Server {
    pub(super) async fn connect(url: &str, tls: &TlsArgs) -> anyhow::Result<Self> {
        let connection = client::connection(url, tls).await?;
        Ok(Self {
            client: RecommendationServiceClient::new(connection),
            latencies: Vec::new(),
            failed: 0,
            degraded: 0,
            recent: 0,
            build: String::new(),
            catalog_version: String::new(),
            profile_version: String::new(),
        })
    }

    /// The answer to `request`; none when the call fails, which is counted.
    pub(super) async fn fetch(
        &mut self,
        request: &v1::RecommendRequest,
    ) -> Option<v1::RecommendResponse> {
        let begun = Instant::now();
        let response = self.client.recommend(request.clone()).await;
        self.latencies.push(begun.elapsed());
        let Ok(response) = response else {
            self.failed += 1;
            return None;
        };
        let build = response.metadata().get("x-pinnersage-build");
        let build = build.and_then(|build| build.to_str().ok());
        self.build = build.unwrap_or("unknown").to_owned();
        let response = response.into_inner();
        self.degraded += usize::from(response.degraded);
        self.recent += usize::from(response.medoids.iter().any(is_recent));
        self.catalog_version.clone_from(&response.catalog_version);
        self.profile_version.clone_from(&response.profile_version);
        Some(response)
    }

    pub(super) fn stats(&self) -> ServerStats {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let share = |count: usize| count as f64 / self.latencies.len().max(1) as f64;
        ServerStats {
            build: self.build.clone(),
            catalog_version: self.catalog_version.clone(),
            profile_version: self.profile_version.clone(),
            failed: share(self.failed),
            degraded: share(self.degraded),
            recent: share(self.recent),
            p50_ms: quantile_ms(&sorted, 0.5),
            p99_ms: quantile_ms(&sorted, 0.99),
        }
    }
}

/// Whether recorded actions made or changed the interest.
fn is_recent(medoid: &v1::SampledMedoid) -> bool {
    let recent = [v1::MedoidOrigin::Recent, v1::MedoidOrigin::ProfileAndRecent];
    recent.contains(&medoid.origin())
}

/// The quantile `q` of ascending latencies, in milliseconds; 0 of none.
fn quantile_ms(sorted: &[Duration], q: f64) -> f64 {
    let rank = (sorted.len() as f64 * q) as usize;
    let latency = sorted.get(rank).or(sorted.last());
    latency.map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_ascending_latencies() {
        let sorted: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(quantile_ms(&sorted, 0.5).round(), 51.0);
        assert_eq!(quantile_ms(&sorted, 0.99).round(), 100.0);
        assert_eq!(quantile_ms(&sorted, 1.0).round(), 100.0);
        assert_eq!(quantile_ms(&[], 0.5), 0.0);
    }
}
