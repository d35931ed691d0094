//! Where the CPU work of calls runs.
//!
//! Measured with `tools/load.rs` (16 callers, 100,000 pins, three walks of about
//! a millisecond each, server and callers on the same two cores, two rounds each):
//!
//! | place | calls/s | p99 of Recommend | p50, p99 of a health check meanwhile |
//! | --- | --- | --- | --- |
//! | on the async workers | 734, 600 | 41, 49 ms | 19-24 ms, 39-52 ms |
//! | `spawn_blocking` | 653, 648 | 63, 66 ms | 7 ms, 20-21 ms |
//! | `block_in_place` | 650, 738 | 78, 71 ms | 7-9 ms, 22-23 ms |
//! | one worker a core | 588, 615 | 37, 35 ms | 0.36 ms, 6 ms |
//!
//! Only the last keeps the async workers free, so that health is answered and
//! other calls are read while the machine is busy, and serves calls in the order
//! in which they came; the rates differ by no more than they do between rounds.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::oneshot;
use tracing::Span;

use crate::serve::status::CallError;

/// Added to the niceness of threads that must not take time from calls.
const NICE: i32 = 10;

/// One thread a core for the work of calls, beside the async workers.
#[derive(Debug)]
pub(crate) struct Workers(ThreadPool);

impl Workers {
    pub(crate) fn new() -> Result<Self, ThreadPoolBuildError> {
        let named = ThreadPoolBuilder::new().thread_name(|n| format!("worker-{n}"));
        named.build().map(Self)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on a worker, and tells it when asked whether the client has left.
    /// Work that panics is a defect of ours: it is logged by the panic itself, and the
    /// call fails alone.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let (give, taken) = oneshot::channel();
        let span = Span::current();
        self.0.spawn(move || {
            let _entered = span.entered();
            if give.is_closed() {
                // The client left while this waited for its turn.
                return;
            }
            // Without a taker the client has left.
            let outcome = guarded(|| work(&|| give.is_closed()));
            let _ = give.send(outcome);
        });
        taken.await.unwrap_or(Err(CallError::Internal))
    }
}

/// A thread for work that must not take time from calls.
pub(crate) fn background(name: &'static str) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(move |_| name.to_owned())
        // Where that is not allowed it is no worse than without.
        .start_handler(|_| _ = rustix::process::nice(NICE))
        .build()
}

/// Runs `work` here. Work that panics fails its call alone.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, CallError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|_| CallError::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_fails_its_call_alone_with_a_fixed_text() {
        let workers = Workers::new().expect("threads");
        let failed = workers.run(|_| panic!("a secret")).await;
        let status = tonic::Status::from(failed.map(|()| 0).expect_err("a failed call"));
        assert_eq!(
            (status.code(), status.message()),
            (tonic::Code::Internal, "internal error")
        );
        assert_eq!(workers.run(|_| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn work_is_told_that_its_client_has_left() {
        let workers = Workers::new().expect("threads");
        let (begin, begun) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let work = move |is_gone: &dyn Fn() -> bool| {
            begin.send(is_gone()).expect("a waiting test");
            while !is_gone() {
                std::thread::yield_now();
            }
            end.send(()).expect("a waiting test");
        };
        let mut call = Box::pin(workers.run(work));
        tokio::select! {
            _ = &mut call => panic!("it ends with its client only"),
            gone = begun => assert_eq!(gone, Ok(false)),
        }
        drop(call);
        ended.await.expect("the end of the work");
    }
}
