//! The async runtime of a command.

use std::future::Future;

/// Runs `work` on all cores.
pub(super) fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    // A server that is stopped while it loads does not wait for the loading.
    runtime.shutdown_background();
    done
}
