//! Users whose rows are left out of profiles, because a server has erased them.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use super::error::BatchError;
use crate::model::UserId;

/// What a line begins with that has the string by which callers call a user.
const KEY: &str = "key:";

/// Users whose rows are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ErasedUsers(HashSet<UserId>);

impl ErasedUsers {
    /// The users in the file `path`, one a line: a number, or `key:` and the string by which
    /// callers call the user. Empty lines are none.
    pub fn read(path: &Path) -> Result<Self, BatchError> {
        let text = fs::read_to_string(path).map_err(|error| BatchError::file(path, error))?;
        let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty());
        let users = lines.map(|(number, line)| {
            let user = match line.strip_prefix(KEY) {
                Some(key) => Some(UserId::of_key(key)),
                None => line.trim().parse().ok().map(UserId),
            };
            user.ok_or_else(|| {
                let reason = format!("line {number} is neither a number nor {KEY} and a string");
                BatchError::file(path, reason)
            })
        });
        Ok(Self(users.collect::<Result<_, _>>()?))
    }

    /// Whether the rows of `user` are left out.
    pub(super) fn contains(&self, user: UserId) -> bool {
        // Mostly there is nobody, and then nothing is hashed.
        !self.0.is_empty() && self.0.contains(&user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ErasedUsers, BatchError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("a file");
        ErasedUsers::read(file.path())
    }

    #[test]
    fn a_line_is_a_number_or_a_key() {
        let users = read("7\r\n\nkey:a b \n18446744073709551615").expect("users");
        let expected = [UserId(7), UserId::of_key("a b "), UserId(u64::MAX)];
        assert_eq!(users, ErasedUsers(expected.into()));
        assert!(users.contains(UserId(7)) && !users.contains(UserId(8)));
        assert!(!ErasedUsers::default().contains(UserId(7)));
    }

    #[test]
    fn another_line_is_refused_by_its_number() {
        for line in ["alice", "-1", "7,8", "18446744073709551616"] {
            let refused = read(&format!("1\n{line}\n")).expect_err("no user");
            let said = refused.to_string();
            assert!(said.contains("line 2 is neither"), "{line}: {said}");
        }
    }
}
