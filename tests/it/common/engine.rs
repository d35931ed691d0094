//! The engines of a shared log that are there to test with.

use pinnersage::durable::ActionLogKind;

#[cfg(feature = "kafka")]
use super::kafka::Kafka;
use super::nats::Nats;

/// An engine that ends when it is dropped.
pub(crate) trait Engine {
    fn kind(&self) -> ActionLogKind;

    /// Its addresses, separated by commas.
    fn urls(&self) -> String;

    /// Makes it answer nobody.
    fn stop(&mut self);

    /// Makes it answer again, with what it had.
    fn start(&mut self);
}

/// An engine of each kind that is there, started.
pub(crate) fn engines() -> Vec<Box<dyn Engine>> {
    let mut engines: Vec<Box<dyn Engine>> = Vec::new();
    if let Some(nats) = Nats::start(1) {
        engines.push(Box::new(nats));
    }
    #[cfg(feature = "kafka")]
    engines.push(Box::new(Kafka::start("pinnersage", 3)));
    engines
}

impl Engine for Nats {
    fn kind(&self) -> ActionLogKind {
        ActionLogKind::Nats
    }

    fn urls(&self) -> String {
        self.urls()
    }

    fn stop(&mut self) {
        self.kill(0);
    }

    fn start(&mut self) {
        self.restart(0);
    }
}
