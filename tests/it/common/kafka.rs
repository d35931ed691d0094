//! Brokers of Kafka: the mock cluster of librdkafka, in this process. It speaks the protocol,
//! and keeps in memory what it has.

use pinnersage::durable::ActionLogKind;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

use super::engine::Engine;

const BROKERS: i32 = 3;

/// Brokers that end when this is dropped.
pub(crate) struct Kafka {
    pub(crate) cluster: MockCluster<'static, DefaultProducerContext>,
}

impl Kafka {
    /// Starts brokers with the topics of the log `prefix`, which they cannot make when asked.
    pub(crate) fn start(prefix: &str, partitions: i32) -> Self {
        let cluster = MockCluster::new(BROKERS).expect("brokers");
        for (topic, partitions) in [
            ("actions", partitions),
            ("kept", partitions),
            ("control", 1),
        ] {
            let topic = format!("{prefix}-{topic}");
            let created = cluster.create_topic(&topic, partitions, BROKERS);
            created.expect("a topic");
        }
        Self { cluster }
    }
}

impl Engine for Kafka {
    fn kind(&self) -> ActionLogKind {
        ActionLogKind::Kafka
    }

    fn urls(&self) -> String {
        self.cluster.bootstrap_servers()
    }

    fn stop(&mut self) {
        self.cluster.broker_down(-1).expect("brokers");
    }

    fn start(&mut self) {
        self.cluster.broker_up(-1).expect("brokers");
    }
}
