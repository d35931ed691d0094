//! Where the CPU work of calls runs.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::oneshot;

use super::status::CallError;

/// One thread a core for the work of calls, beside the async workers.
#[derive(Debug)]
pub(super) struct Workers(ThreadPool);

impl Workers {
    pub(super) fn new() -> Result<Self, ThreadPoolBuildError> {
        let named = ThreadPoolBuilder::new().thread_name(|n| format!("worker-{n}"));
        named.build().map(Self)
    }

    /// Runs `work` on a worker. Work that panics is a defect of ours: it is logged
    /// by the panic itself, and the call fails alone.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let (give, taken) = oneshot::channel();
        self.0.spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // Without a taker the client has left.
            let _ = give.send(result);
        });
        match taken.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) | Err(_) => Err(CallError::Internal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_fails_its_call_alone_with_a_fixed_text() {
        let workers = Workers::new().expect("threads");
        let failed = workers.run(|| panic!("a secret")).await;
        let status = tonic::Status::from(failed.map(|()| 0).expect_err("a failed call"));
        assert_eq!(
            (status.code(), status.message()),
            (tonic::Code::Internal, "internal error")
        );
        assert_eq!(workers.run(|| 7).await, Ok(7));
    }
}
