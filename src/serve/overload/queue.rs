//! Bounded queue of calls that wait for their admission.

use std::collections::VecDeque;
use std::time::Instant;

use tokio::sync::oneshot;

/// The receiving half of a waiting call: ready when the call leaves the queue.
pub(super) type Admission<T> = oneshot::Receiver<T>;

/// First-in-first-out queue of calls that wait for a message `T`.
#[derive(Debug)]
pub(super) struct WaitQueue<T> {
    waiters: VecDeque<Waiter<T>>,
    capacity: usize,
}

/// A waiting call.
#[derive(Debug)]
pub(super) struct Waiter<T> {
    /// Moment at which its search must end.
    pub(super) until: Instant,
    sender: oneshot::Sender<T>,
}

impl<T> Waiter<T> {
    /// Sends the message to the call. Gives it back when the client has left.
    pub(super) fn send(self, message: T) -> Result<(), T> {
        self.sender.send(message)
    }

    fn is_abandoned(&self) -> bool {
        self.sender.is_closed()
    }
}

impl<T> WaitQueue<T> {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            waiters: VecDeque::new(),
            capacity,
        }
    }

    /// Returns the number of calls in the queue, some of which may be abandoned.
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// Tells whether there is no room, after dropping the calls whose clients have left.
    pub(super) fn is_full(&mut self) -> bool {
        if self.waiters.len() >= self.capacity {
            self.waiters.retain(|waiter| !waiter.is_abandoned());
        }
        self.waiters.len() >= self.capacity
    }

    /// Adds a call at the end.
    pub(super) fn push(&mut self, until: Instant) -> Admission<T> {
        let (sender, admission) = oneshot::channel();
        self.waiters.push_back(Waiter { until, sender });
        admission
    }

    /// Takes the first call whose client has not left.
    pub(super) fn pop(&mut self) -> Option<Waiter<T>> {
        while let Some(waiter) = self.waiters.pop_front() {
            if !waiter.is_abandoned() {
                return Some(waiter);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_leave_in_order_and_abandoned_ones_are_passed_over() {
        let mut queue = WaitQueue::with_capacity(3);
        let now = Instant::now();
        let mut first = queue.push(now);
        let second = queue.push(now);
        let mut third = queue.push(now);
        drop(second);
        for message in ["first", "third"] {
            let waiter = queue.pop().expect("a call");
            waiter.send(message).expect("a client");
        }
        assert!(queue.pop().is_none());
        assert_eq!(first.try_recv(), Ok("first"));
        assert_eq!(third.try_recv(), Ok("third"));
    }

    #[test]
    fn abandoned_calls_make_room_only_when_the_queue_is_full() {
        let mut queue = WaitQueue::<()>::with_capacity(2);
        let now = Instant::now();
        let first = queue.push(now);
        drop(first);
        assert!(!queue.is_full());
        assert_eq!(queue.len(), 1);
        let _second = queue.push(now);
        assert!(!queue.is_full());
        assert_eq!(queue.len(), 1);
        let _third = queue.push(now);
        assert!(queue.is_full());
    }

    #[test]
    fn a_message_to_an_abandoned_call_comes_back() {
        let mut queue = WaitQueue::with_capacity(1);
        let admission = queue.push(Instant::now());
        let waiter = queue.pop().expect("a call");
        drop(admission);
        assert_eq!(waiter.send(7), Err(7));
    }
}
