//! What `grpc.health.v1` says of the server and of each of its services.

use tokio::sync::Mutex;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::HealthReporter;

use crate::wire::v1::{
    action_service_server, admin_service_server, catalog_service_server,
    recommendation_service_server,
};

/// Services that write what the server keeps.
const RECORDING: [&str; 2] = [
    action_service_server::SERVICE_NAME,
    catalog_service_server::SERVICE_NAME,
];
/// Names that health is asked about: the whole server, and each service.
const NAMES: [&str; 5] = [
    "",
    action_service_server::SERVICE_NAME,
    admin_service_server::SERVICE_NAME,
    catalog_service_server::SERVICE_NAME,
    recommendation_service_server::SERVICE_NAME,
];

/// The health of the server and of its services.
pub(super) struct ServiceHealth {
    reporter: HealthReporter,
    condition: Mutex<Condition>,
}

/// What the server can do.
#[derive(Clone, Copy, Debug)]
struct Condition {
    serves: bool,
    records: bool,
}

impl ServiceHealth {
    /// Nothing serves yet. Also returns the service that tells it.
    pub(super) async fn new() -> (Self, HealthServer<impl Health>) {
        let (reporter, service) = tonic_health::server::health_reporter();
        let condition = Condition {
            serves: false,
            records: true,
        };
        let health = Self {
            reporter,
            condition: Mutex::new(condition),
        };
        health.stop_serving().await;
        (health, service)
    }

    /// Everything serves, but for services that write where nothing is recorded.
    pub(super) async fn serve(&self) {
        self.set(|condition| condition.serves = true).await;
    }

    /// Nothing serves any more.
    pub(super) async fn stop_serving(&self) {
        self.set(|condition| condition.serves = false).await;
    }

    /// The services that write do not serve; the server and the others go on.
    pub(super) async fn stop_recording(&self) {
        self.set(|condition| condition.records = false).await;
    }

    /// The services that write serve again, if the server does.
    pub(super) async fn record(&self) {
        self.set(|condition| condition.records = true).await;
    }

    /// Ends the streams of those who watch, which would never end otherwise.
    pub(super) async fn end(&mut self) {
        for name in NAMES {
            self.reporter.clear_service_status(name).await;
        }
    }

    /// Changes the condition, and tells the status that follows for each name.
    async fn set(&self, change: impl FnOnce(&mut Condition)) {
        let mut condition = self.condition.lock().await;
        change(&mut condition);
        for name in NAMES {
            let serves = condition.serves && (condition.records || !RECORDING.contains(&name));
            let status = match serves {
                true => ServingStatus::Serving,
                false => ServingStatus::NotServing,
            };
            self.reporter.set_service_status(name, status).await;
        }
    }
}
