//! Signals that stop a server: SIGTERM and ctrl-c.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Exit code of a server that was ended by a second signal.
const SECOND_SIGNAL: i32 = 70;

/// Both signals that stop a server.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    async fn receive(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// A future that is done at the first signal. A second one ends the process at once:
/// acknowledged actions are on disk already.
pub(super) fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut signals = StopSignals {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    Ok(async move {
        signals.receive().await;
        tracing::info!("stopping: a second signal ends it at once");
        tokio::spawn(async move {
            signals.receive().await;
            tracing::warn!("second signal: ending at once");
            std::process::exit(SECOND_SIGNAL);
        });
    })
}
