//! Worker threads for the CPU work of calls.
//!
//! Measured with `tools/load.rs` (16 callers, 100,000 pins, three graph searches of
//! about a millisecond each, server and callers on the same two cores, two rounds each):
//!
//! | threads | calls/s | p99 of Recommend | p50, p99 of a health check meanwhile |
//! | --- | --- | --- | --- |
//! | on the async workers | 734, 600 | 41, 49 ms | 19-24 ms, 39-52 ms |
//! | `spawn_blocking` | 653, 648 | 63, 66 ms | 7 ms, 20-21 ms |
//! | `block_in_place` | 650, 738 | 78, 71 ms | 7-9 ms, 22-23 ms |
//! | one worker a core | 588, 615 | 37, 35 ms | 0.36 ms, 6 ms |
//!
//! Only the last keeps the async workers free, so that health is answered and other
//! calls are read while the machine is busy. It also serves calls in the order in which
//! they came. The rates differ by no more than they do between rounds.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use tokio::sync::oneshot;
use tracing::Span;

use crate::serve::status::CallError;

/// Added to the niceness of threads that must not take time from calls.
const NICE: i32 = 10;

/// One thread per core for the work of calls, beside the async workers.
#[derive(Debug)]
pub(crate) struct Workers(ThreadPool);

impl Workers {
    /// Starts the threads.
    pub(crate) fn new() -> Result<Self, ThreadPoolBuildError> {
        let named = ThreadPoolBuilder::new().thread_name(|n| format!("worker-{n}"));
        named.build().map(Self)
    }

    /// Returns the number of threads.
    pub(crate) fn count(&self) -> usize {
        self.0.current_num_threads()
    }

    /// Runs `work` on a worker. Its argument tells whether the client has left. Work that
    /// panics is a defect of this program: the panic logs itself, and the call alone
    /// fails with INTERNAL.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&dyn Fn() -> bool) -> T + Send + 'static,
    ) -> Result<T, CallError> {
        let (sender, receiver) = oneshot::channel();
        let span = Span::current();
        self.0.spawn(move || {
            let _entered = span.entered();
            if sender.is_closed() {
                // The client left while this waited for its turn.
                return;
            }
            let outcome = catch_panic(|| work(&|| sender.is_closed()));
            // Sending fails when the client has left.
            let _ = sender.send(outcome);
        });
        receiver.await.unwrap_or(Err(CallError::Internal))
    }
}

/// Starts a thread for work that must not take time from calls.
pub(crate) fn background_thread(name: &'static str) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new()
        .num_threads(1)
        .thread_name(move |_| name.to_owned())
        // Where the system forbids this, the thread runs at the usual niceness.
        .start_handler(|_| _ = rustix::process::nice(NICE))
        .build()
}

/// Runs `work` on this thread. A panic fails its call alone, with INTERNAL.
pub(crate) fn catch_panic<T>(work: impl FnOnce() -> T) -> Result<T, CallError> {
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
    async fn work_sees_that_its_client_has_left() {
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
