//! Names of the topics of a log, and which partition is which stream.

use super::super::positions::Position;

/// Names for a prefix and a number of partitions. Streams are, in this order: actions that are
/// forgotten, actions that never are, and the control stream.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    /// Partitions of each of the two topics of actions.
    pub(super) partitions: u8,
}

/// The topics of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Topic {
    /// Actions that are forgotten.
    Actions,
    /// Actions that never are.
    Kept,
    /// Pins, erasures and claims.
    Control,
}

impl Topic {
    pub(super) const ALL: [Self; 3] = [Self::Actions, Self::Kept, Self::Control];

    fn word(self) -> &'static str {
        match self {
            Self::Actions => "actions",
            Self::Kept => "kept",
            Self::Control => "control",
        }
    }
}

impl Names {
    pub(super) fn new(prefix: &str, partitions: usize) -> Self {
        Self {
            prefix: prefix.to_owned(),
            partitions: u8::try_from(partitions).expect("checked with the settings"),
        }
    }

    /// All streams, the control stream last.
    pub(super) fn all(&self) -> std::ops::RangeInclusive<u8> {
        0..=self.control()
    }

    /// Number of the streams of actions, forgotten or not.
    pub(super) fn actions(&self) -> u8 {
        2 * self.partitions
    }

    pub(super) fn control(&self) -> u8 {
        self.actions()
    }

    pub(super) fn topic(&self, topic: Topic) -> String {
        format!("{}-{}", self.prefix, topic.word())
    }

    pub(super) fn partitions(&self, topic: Topic) -> u8 {
        match topic {
            Topic::Actions | Topic::Kept => self.partitions,
            Topic::Control => 1,
        }
    }

    /// The topic of a stream.
    pub(super) fn topic_of(&self, stream: u8) -> Topic {
        match stream / self.partitions {
            0 => Topic::Actions,
            1 => Topic::Kept,
            _ => Topic::Control,
        }
    }

    /// The first stream of a topic.
    pub(super) fn first(&self, topic: Topic) -> u8 {
        match topic {
            Topic::Actions => 0,
            Topic::Kept => self.partitions,
            Topic::Control => self.control(),
        }
    }

    /// The name of the topic of a stream, and its partition.
    pub(super) fn place(&self, stream: u8) -> (String, i32) {
        let topic = self.topic_of(stream);
        (self.topic(topic), i32::from(stream - self.first(topic)))
    }

    /// The stream that is this partition.
    pub(super) fn number(&self, topic: &str, partition: i32) -> Option<u8> {
        let mut topics = Topic::ALL.into_iter();
        let topic = topics.find(|&of| self.topic(of) == topic)?;
        let partition = u8::try_from(partition).ok()?;
        (partition < self.partitions(topic)).then(|| self.first(topic) + partition)
    }

    /// A stream, for people.
    pub(super) fn stream(&self, stream: u8) -> String {
        let (topic, partition) = self.place(stream);
        format!("{topic}/{partition}")
    }
}

/// The message at `offset`, which counts from 0.
pub(super) fn position(stream: u8, offset: i64) -> Position {
    Position {
        stream,
        sequence: u64::try_from(offset.saturating_add(1)).unwrap_or(0),
    }
}

/// The number of a message that was sent to a stream which reached the number `known` before,
/// and of which a report says that it is at `offset`. A broker that has it from an earlier try
/// does not tell where; librdkafka then reports it, and what was sent with it, at offsets from
/// -1 on.
pub(super) fn confirmed(offset: i64, known: u64) -> Result<u64, String> {
    let Position { sequence, .. } = position(0, offset);
    if sequence > known {
        return Ok(sequence);
    }
    Err("a broker says that it is there, and not where".to_owned())
}

/// The offset of what follows the message of this number.
pub(super) fn offset_after(sequence: u64) -> i64 {
    i64::try_from(sequence).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_partitions_and_the_other_way_round() {
        let names = Names::new("a-1", 2);
        let all: Vec<String> = names.all().map(|stream| names.stream(stream)).collect();
        assert_eq!(
            all,
            [
                "a-1-actions/0",
                "a-1-actions/1",
                "a-1-kept/0",
                "a-1-kept/1",
                "a-1-control/0"
            ]
        );
        for stream in names.all() {
            let (topic, partition) = names.place(stream);
            assert_eq!(names.number(&topic, partition), Some(stream));
        }
        assert_eq!(names.number("a-1-control", 1), None);
        assert_eq!(names.number("b-control", 0), None);
        let single = Names::new("a", 1);
        let topics: Vec<Topic> = single.all().map(|at| single.topic_of(at)).collect();
        assert_eq!(topics, Topic::ALL);
    }

    #[test]
    fn what_a_report_does_not_tell_the_place_of_is_not_confirmed() {
        for (offset, known, number) in [
            (0, 0, Some(1)),
            (5, 5, Some(6)),
            (4, 5, None),
            (-1, 0, None),
            (0, 5, None),
            (-1001, 5, None),
        ] {
            assert_eq!(confirmed(offset, known).ok(), number, "{offset} {known}");
        }
    }

    #[test]
    fn numbers_are_offsets_from_1_on() {
        let first = position(2, 0);
        assert_eq!((first.stream, first.sequence), (2, 1));
        assert_eq!(offset_after(first.sequence), 1);
    }
}
