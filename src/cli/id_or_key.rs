//! What users and pins are called: numbers, or keys, which are strings.

use std::borrow::Cow;
use std::fmt;

use clap::Args;

use crate::model::id_of_key;
use crate::terminal::printable;

/// What a caller calls a user or a pin.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum IdOrKey {
    /// A number.
    Id(u64),
    /// A string, whose hash is the id.
    Key(String),
}

/// The user of a command.
#[derive(Clone, Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct UserArgs {
    /// The user.
    #[arg(long, value_name = "ID")]
    user: Option<u64>,
    /// The user, by its key, where users are called by strings.
    #[arg(long, value_name = "KEY")]
    user_key: Option<String>,
}

/// The user of a command that needs none.
#[derive(Clone, Debug, Args)]
#[group(multiple = false)]
pub(super) struct OptionalUserArgs {
    /// The user that the answer is for.
    #[arg(long, value_name = "ID")]
    user: Option<u64>,
    /// The same by its key, where users are called by strings.
    #[arg(long, value_name = "KEY")]
    user_key: Option<String>,
}

impl IdOrKey {
    /// All of these `ids` and `keys`.
    pub(super) fn all(ids: &[u64], keys: &[String]) -> Vec<Self> {
        let ids = ids.iter().copied().map(Self::Id);
        ids.chain(keys.iter().cloned().map(Self::Key)).collect()
    }

    /// What two options give, of which one may be there.
    pub(super) fn one_of(id: Option<u64>, key: Option<&str>) -> Option<Self> {
        let key = key.map(|key| Self::Key(key.to_owned()));
        id.map(Self::Id).or(key)
    }

    /// The values of the fields for an id and for a key in a message: one of them.
    pub(super) fn fields(&self) -> (Option<u64>, Option<String>) {
        match self {
            Self::Id(id) => (Some(*id), None),
            Self::Key(key) => (None, Some(key.clone())),
        }
    }

    /// The id.
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Id(id) => *id,
            Self::Key(key) => id_of_key(key),
        }
    }

    /// The key; empty where there is only a number.
    pub(super) fn key(&self) -> &str {
        match self {
            Self::Id(_) => "",
            Self::Key(key) => key,
        }
    }
}

impl fmt::Display for IdOrKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display_id(self.id(), self.key()))
    }
}

impl UserArgs {
    pub(super) fn user(&self) -> IdOrKey {
        let user = IdOrKey::one_of(self.user, self.user_key.as_deref());
        user.expect("one of the two options is required")
    }
}

impl OptionalUserArgs {
    pub(super) fn user(&self) -> Option<IdOrKey> {
        IdOrKey::one_of(self.user, self.user_key.as_deref())
    }
}

/// A user or a pin for people, in one line: its key, or its id where the key is empty.
pub(super) fn display_id(id: u64, key: &str) -> Cow<'_, str> {
    if key.is_empty() {
        Cow::Owned(id.to_string())
    } else {
        printable(key)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::model::UserId;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        user: UserArgs,
    }

    #[test]
    fn a_command_takes_an_id_or_a_key() {
        let user = |arguments: &[&str]| {
            let parsed = Command::try_parse_from([&["command"], arguments].concat());
            parsed.map(|command| command.user.user())
        };
        assert_eq!(user(&["--user", "7"]).expect("an id"), IdOrKey::Id(7));
        let key = user(&["--user-key", "user-1"]).expect("a key");
        assert_eq!(key, IdOrKey::Key("user-1".to_owned()));
        assert_eq!(key.id(), UserId::of_key("user-1").0);
        user(&[]).expect_err("nobody");
        user(&["--user", "user-1"]).expect_err("a key as an id");
        user(&["--user", "7", "--user-key", "user-1"]).expect_err("both");
    }

    #[test]
    fn a_key_is_shown_in_place_of_its_id_and_steers_no_terminal() {
        let shown: Vec<String> = IdOrKey::all(&[7], &["a\u{1b}[31m\n茶".to_owned()])
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["7", r"a\u{1b}[31m\n茶"]);
    }
}
