//! The thread that reads a shared log for a tail. Its end is waited for, and told where it
//! comes too early.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use super::log_state::LogState;

/// Ends a tail when it is dropped, and waits until its thread has ended: nobody takes anything
/// afterwards.
pub(super) struct TailThread {
    is_over: Arc<AtomicBool>,
    /// Taken by the drop.
    thread: Option<JoinHandle<()>>,
}

impl TailThread {
    /// A thread that ends soon after `is_over` has come true.
    pub(super) fn new(is_over: Arc<AtomicBool>, thread: JoinHandle<()>) -> Self {
        Self {
            is_over,
            thread: Some(thread),
        }
    }

    /// Tells the thread that the tail is over.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
    }
}

impl Drop for TailThread {
    fn drop(&mut self) {
        self.end();
        if let Some(thread) = self.thread.take() {
            // A panic there was told when it came.
            let _ = thread.join();
        }
    }
}

/// Tells when the thread of a tail ends although the tail goes on, as after a panic.
pub(super) struct TellEnd<'a> {
    pub(super) state: &'a LogState,
    pub(super) is_over: &'a AtomicBool,
}

impl Drop for TellEnd<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.is_over.load(Ordering::Acquire) {
            self.state
                .stop("the thread that reads it has failed".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_fails_is_told_unless_the_tail_is_over() {
        for is_over in [false, true] {
            let state = Arc::new(LogState::new(1));
            let (told, over) = (state.clone(), Arc::new(AtomicBool::new(is_over)));
            let seen = over.clone();
            let thread = std::thread::spawn(move || {
                let _told = TellEnd {
                    state: &told,
                    is_over: &seen,
                };
                panic!("as of a sink");
            });
            assert!(thread.join().is_err(), "it panics");
            assert_eq!(state.stopped().is_none(), is_over);
        }
    }

    #[test]
    fn the_drop_of_a_tail_waits_for_its_thread() {
        let is_over = Arc::new(AtomicBool::new(false));
        let held = Arc::new(());
        let (over, of_thread) = (is_over.clone(), held.clone());
        let thread = std::thread::spawn(move || {
            while !over.load(Ordering::Acquire) {
                std::thread::yield_now();
            }
            drop(of_thread);
        });
        drop(TailThread::new(is_over, thread));
        assert_eq!(
            Arc::strong_count(&held),
            1,
            "nobody takes anything any more"
        );
    }
}
