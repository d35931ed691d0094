//! Files of requests by user: written by `users`, read by `diff` and by ghz.

use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

/// A request, in the JSON form of Protocol Buffers, where 64-bit ids are strings.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UserRequest {
    pub(super) user_id: String,
}

/// The users in the file `path`: a JSON array of requests, or one id a line. At least
/// one.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<u64>> {
    let name = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(name)?;
    let users = parse(&text).with_context(name)?;
    anyhow::ensure!(!users.is_empty(), "{}: has no user", name());
    Ok(users)
}

fn parse(text: &str) -> anyhow::Result<Vec<u64>> {
    let ids: Vec<String> = if text.trim_start().starts_with('[') {
        let requests: Vec<UserRequest> = serde_json::from_str(text)?;
        requests
            .into_iter()
            .map(|request| request.user_id)
            .collect()
    } else {
        text.lines().map(|line| line.trim().to_owned()).collect()
    };
    ids.iter()
        .filter(|id| !id.is_empty())
        .map(|id| id.parse().with_context(|| format!("{id:?}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_have_the_same_users() {
        let users = |text: &str| parse(text).expect("users");
        assert_eq!(users("3\n\n 18446744073709551615 \n"), [3, u64::MAX]);
        let requests = r#"[{"user_id":"3"},{"user_id":"18446744073709551615"}]"#;
        assert_eq!(users(requests), [3, u64::MAX]);
    }

    #[test]
    fn a_bad_id_is_named() {
        let error = parse("3\nmany\n").expect_err("a word");
        assert!(format!("{error:#}").starts_with("\"many\":"), "{error:#}");
    }
}
