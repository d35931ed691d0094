//! The order of one stream: each message once, in order, and none left out without proof
//! that it is gone.

use std::collections::BTreeMap;

/// Most messages that are held while one before them is missing. What comes beyond is asked
/// for again.
pub(super) const MAX_HELD: usize = 128;

/// What comes next in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step<M> {
    /// The message of this number.
    Message(u64, M),
    /// All up to this number that was not delivered is gone.
    Gone(u64),
}

/// How far a stream was delivered, and what waits for messages before it.
#[derive(Debug)]
pub(super) struct Ordering<M> {
    next: u64,
    /// The newest message that is known to exist.
    known: u64,
    held: BTreeMap<u64, M>,
}

impl<M> Ordering<M> {
    /// A stream that was delivered up to `after`.
    pub(super) fn new(after: u64) -> Self {
        Self {
            next: after + 1,
            known: 0,
            held: BTreeMap::new(),
        }
    }

    /// The number that is delivered next.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// Whether messages are known to exist that were not delivered.
    pub(super) fn is_missing(&self) -> bool {
        self.known >= self.next
    }

    /// Takes that there is a message `newest`.
    pub(super) fn know(&mut self, newest: u64) {
        self.known = self.known.max(newest);
    }

    /// Takes a message that came by itself: it says nothing of those before it.
    pub(super) fn live(&mut self, sequence: u64, message: M, steps: &mut Vec<Step<M>>) {
        self.know(sequence);
        if sequence == self.next {
            self.deliver(sequence, message, steps);
            self.release(steps);
        } else if sequence > self.next && self.held.len() < MAX_HELD {
            self.held.insert(sequence, message);
        }
    }

    /// Takes messages that were read one after the other from `begin`: what lies between
    /// them is gone.
    pub(super) fn fetched(
        &mut self,
        begin: u64,
        messages: Vec<(u64, M)>,
        steps: &mut Vec<Step<M>>,
    ) {
        if begin > self.next {
            return;
        }
        for (sequence, message) in messages {
            self.know(sequence);
            if sequence < self.next {
                continue;
            }
            self.skip_to(sequence, steps);
            self.deliver(sequence, message, steps);
        }
        self.release(steps);
    }

    /// Takes proof that nothing is left from `begin` to `through`.
    pub(super) fn nothing_left(&mut self, begin: u64, through: u64, steps: &mut Vec<Step<M>>) {
        if begin <= self.next && through >= self.next {
            self.know(through);
            self.skip_to(through + 1, steps);
            self.release(steps);
        }
    }

    fn skip_to(&mut self, sequence: u64, steps: &mut Vec<Step<M>>) {
        if sequence > self.next {
            steps.push(Step::Gone(sequence - 1));
            self.next = sequence;
        }
    }

    fn deliver(&mut self, sequence: u64, message: M, steps: &mut Vec<Step<M>>) {
        steps.push(Step::Message(sequence, message));
        self.next = sequence + 1;
    }

    /// Delivers what was held for those that have come, and drops what has come otherwise.
    fn release(&mut self, steps: &mut Vec<Step<M>>) {
        while let Some(first) = self.held.first_entry() {
            let sequence = *first.key();
            if sequence > self.next {
                return;
            }
            let message = first.remove();
            if sequence == self.next {
                self.deliver(sequence, message, steps);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What happens to a reader of a stream.
    #[derive(Clone, Debug)]
    enum Event {
        Live(u64),
        Fetch { back: u64, most: usize },
        Poll,
        Settle,
    }

    const END: u64 = 60;

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            4 => (1..=END).prop_map(Event::Live),
            1 => (0u64..4, 1usize..9).prop_map(|(back, most)| Event::Fetch { back, most }),
            1 => Just(Event::Poll),
            1 => Just(Event::Settle),
        ]
    }

    /// A stream some of whose messages are gone.
    struct Stream(Vec<u64>);

    impl Stream {
        fn from(&self, begin: u64, most: usize) -> Vec<(u64, u64)> {
            let left = self.0.iter().filter(|&&sequence| sequence >= begin);
            left.take(most)
                .map(|&sequence| (sequence, sequence))
                .collect()
        }

        fn apply(&self, event: &Event, order: &mut Ordering<u64>, steps: &mut Vec<Step<u64>>) {
            match *event {
                Event::Live(sequence) if self.0.contains(&sequence) => {
                    order.live(sequence, sequence, steps);
                }
                Event::Live(_) => {}
                Event::Fetch { back, most } => {
                    let begin = order.next().saturating_sub(back).max(1);
                    order.fetched(begin, self.from(begin, most), steps);
                }
                Event::Poll => order.know(END),
                Event::Settle => {
                    if self.from(order.next(), 1).is_empty() {
                        order.nothing_left(order.next(), END, steps);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn each_message_comes_once_and_in_order_whatever_is_lost_doubled_or_late(
            left in prop::collection::btree_set(1..=END, 0..END as usize),
            after in 0..END,
            events in prop::collection::vec(event(), 0..200),
        ) {
            let stream = Stream(left.into_iter().collect());
            let mut order = Ordering::new(after);
            let mut steps = Vec::new();
            let ending = [Event::Poll, Event::Fetch { back: 0, most: 99 }, Event::Settle];
            for event in events.iter().chain(&ending) {
                stream.apply(event, &mut order, &mut steps);
            }
            prop_assert!(!order.is_missing());
            let mut delivered = Vec::new();
            let mut position = after;
            for step in &steps {
                let at = match step {
                    Step::Message(sequence, message) => {
                        prop_assert_eq!(sequence, message);
                        prop_assert_eq!(*sequence, position + 1);
                        delivered.push(*sequence);
                        *sequence
                    }
                    Step::Gone(through) => {
                        let is_gone = |at: u64| !stream.0.contains(&at);
                        prop_assert!((position + 1..=*through).all(is_gone));
                        *through
                    }
                };
                prop_assert!(at > position);
                position = at;
            }
            let expected: Vec<u64> = stream.from(after + 1, 99).iter().map(|(at, _)| *at).collect();
            prop_assert_eq!(delivered, expected);
            prop_assert_eq!(order.next(), END + 1);
        }
    }

    #[test]
    fn what_is_beyond_the_limit_of_held_messages_is_known_and_missing() {
        let mut order = Ordering::new(0);
        let mut steps = Vec::new();
        let last = MAX_HELD as u64 + 10;
        (2..=last).for_each(|at| order.live(at, (), &mut steps));
        assert!(steps.is_empty() && order.is_missing());
        order.live(1, (), &mut steps);
        assert_eq!(steps.len(), MAX_HELD + 1);
        assert!(order.is_missing() && order.next() == MAX_HELD as u64 + 2);
    }
}
