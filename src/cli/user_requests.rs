//! Files of requests by user: written by `users`, read by `diff`, by `profiles build --erased`
//! and by ghz.

use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use super::id_or_key::IdOrKey;
use crate::model::MAX_KEY;

/// A request, in the JSON form of Protocol Buffers, where 64-bit ids are strings. It has
/// one of the two.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct UserRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_key: Option<String>,
}

impl From<IdOrKey> for UserRequest {
    fn from(user: IdOrKey) -> Self {
        let (id, user_key) = user.fields();
        Self {
            user_id: id.map(|id| id.to_string()),
            user_key,
        }
    }
}

impl UserRequest {
    fn user(self) -> anyhow::Result<IdOrKey> {
        match (self.user_id, self.user_key) {
            (Some(id), None) => parse_id(&id),
            (None, Some(key)) => match key.len() {
                1..=MAX_KEY => Ok(IdOrKey::Key(key)),
                length => bail!("user_key has {length} bytes, where a key has 1 to {MAX_KEY}"),
            },
            (Some(_), Some(_)) => bail!("it has user_id and user_key: one must be there"),
            (None, None) => bail!("it has no user_id and no user_key"),
        }
    }
}

/// The users in the file `path`: a JSON array of requests, or one id or request a line.
pub(super) fn read(path: &Path) -> anyhow::Result<Vec<IdOrKey>> {
    let name = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(name)?;
    parse(&text).with_context(name)
}

fn parse(text: &str) -> anyhow::Result<Vec<IdOrKey>> {
    if text.trim_start().starts_with('[') {
        let requests: Vec<UserRequest> = serde_json::from_str(text)?;
        let user = |(number, request): (usize, UserRequest)| {
            let user = request.user();
            user.with_context(|| format!("request {number}"))
        };
        return (1..).zip(requests).map(user).collect();
    }
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines
        .map(|(number, line)| parse_line(line).with_context(|| format!("line {number}")))
        .collect()
}

fn parse_line(line: &str) -> anyhow::Result<IdOrKey> {
    if !line.starts_with('{') {
        return parse_id(line);
    }
    let request = serde_json::from_str::<UserRequest>(line).map_err(Into::into);
    let user = request.and_then(UserRequest::user);
    user.with_context(|| format!("{line:?}"))
}

fn parse_id(id: &str) -> anyhow::Result<IdOrKey> {
    let parsed = id.parse().map(IdOrKey::Id);
    parsed.with_context(|| format!("{id:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_have_the_same_users() {
        let users = |text: &str| parse(text).expect("users");
        let numbers = [IdOrKey::Id(3), IdOrKey::Id(u64::MAX)];
        assert_eq!(users("3\n\n 18446744073709551615 \n"), numbers);
        let requests = r#"[{"user_id":"3"},{"user_id":"18446744073709551615"}]"#;
        assert_eq!(users(requests), numbers);
        let mixed = [IdOrKey::Key("user 1".to_owned()), IdOrKey::Id(3)];
        assert_eq!(users(r#"[{"user_key":"user 1"},{"user_id":"3"}]"#), mixed);
        assert_eq!(users("{\"user_key\":\"user 1\"}\n3\n"), mixed);
    }

    #[test]
    fn what_is_written_is_read_as_it_was() {
        let users = IdOrKey::all(&[0, u64::MAX], &["3".to_owned(), "\"茶\n".to_owned()]);
        let requests: Vec<UserRequest> = users.iter().cloned().map(UserRequest::from).collect();
        let text = serde_json::to_string(&requests).expect("JSON");
        let numbers = r#"[{"user_id":"0"},{"user_id":"18446744073709551615"},"#;
        assert!(text.starts_with(numbers), "{text}");
        assert_eq!(parse(&text).expect("users"), users);
    }

    #[test]
    fn a_bad_user_is_named() {
        let long = format!("\n{{\"user_key\":\"{}\"}}", "x".repeat(MAX_KEY + 1));
        for (text, said) in [
            ("3\n\nmany\n", "line 3: \"many\": "),
            ("user-1", "line 1: \"user-1\": "),
            ("key:user-1", "line 1: \"key:user-1\": "),
            ("3\n{\"user_key\": 4}", r#"line 2: "{\"user_key\": 4}": "#),
            (
                r#"{"user_key":""}"#,
                r#"line 1: "{\"user_key\":\"\"}": user_key has 0 bytes, where a key has 1 to 256"#,
            ),
            (&long, "line 2: "),
            (r#"[{"user_id":"3"},{}]"#, "request 2: it has no user_id"),
            (
                r#"[{"user_id":"3","user_key":"a"}]"#,
                "request 1: it has user_id and user_key",
            ),
            (r#"[{"user_id":"many"}]"#, "request 1: \"many\": "),
        ] {
            let error = format!("{:#}", parse(text).expect_err(text));
            assert!(error.starts_with(said), "{error}");
        }
    }
}
