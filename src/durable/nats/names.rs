//! Names of the streams of a log, and of their subjects.

use crate::model::PinId;

/// Names for a prefix and a number of streams of actions. The control stream follows them.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    pub(super) actions: u8,
}

impl Names {
    pub(super) fn new(prefix: &str, actions: usize) -> Self {
        Self {
            prefix: prefix.to_owned(),
            actions: u8::try_from(actions).expect("checked with the settings"),
        }
    }

    /// All streams, the control stream last.
    pub(super) fn all(&self) -> std::ops::RangeInclusive<u8> {
        0..=self.actions
    }

    pub(super) fn control(&self) -> u8 {
        self.actions
    }

    fn word(&self, stream: u8) -> String {
        match stream == self.control() {
            true => "control".to_owned(),
            false => stream.to_string(),
        }
    }

    pub(super) fn stream(&self, stream: u8) -> String {
        format!("{}-{}", self.prefix, self.word(stream))
    }

    /// The stream of that name.
    pub(super) fn number(&self, name: &str) -> Option<u8> {
        let word = name.strip_prefix(&self.prefix)?.strip_prefix('-')?;
        let is_stream = |stream: &u8| self.word(*stream) == word;
        self.all().find(is_stream)
    }

    /// All subjects of a stream.
    pub(super) fn subjects(&self, stream: u8) -> String {
        format!("{}.{}.>", self.prefix, self.word(stream))
    }

    /// Where the leader of a stream repeats what it has stored.
    pub(super) fn repeated(&self, stream: u8) -> String {
        format!("tail.{}", self.subjects(stream))
    }

    /// Where all leaders do.
    pub(super) fn tail(&self) -> String {
        format!("tail.{}.*.>", self.prefix)
    }

    pub(super) fn action_subject(&self, stream: u8) -> String {
        format!("{}.{stream}.act.0", self.prefix)
    }

    pub(super) fn pin_subject(&self, pin: PinId) -> String {
        format!("{}.control.pin.{:016x}", self.prefix, pin.0)
    }

    /// The subject of one erasure; each has its own, so that all of them stay.
    pub(super) fn erasure_subject(&self, user: &[u8], unique: u64) -> String {
        let user = hex(user);
        format!("{}.control.erase.{user}.{unique:016x}", self.prefix)
    }

    pub(super) fn claim_subject(&self) -> String {
        format!("{}.control.claim", self.prefix)
    }
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let names = Names::new("a-1", 2);
        let all: Vec<String> = names.all().map(|stream| names.stream(stream)).collect();
        assert_eq!(all, ["a-1-0", "a-1-1", "a-1-control"]);
        for stream in names.all() {
            assert_eq!(names.number(&names.stream(stream)), Some(stream));
        }
        assert_eq!((names.number("a-1-2"), names.number("b-0")), (None, None));
    }
}
