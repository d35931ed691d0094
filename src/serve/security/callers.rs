//! Who may call, and what: a file of callers, each with the roles it has and the token
//! or the certificate that it is known by.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use arc_swap::ArcSwap;
use serde::Deserialize;

use crate::serve::security::credentials::{Hash, hash};
use crate::serve::security::tls::Certificate;
use crate::serve::status::CallError;

/// Shortest token: shorter ones can be guessed.
const MIN_TOKEN: usize = 16;

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// RecommendParams for recommendations, and for the contract by reflection.
    Read,
    /// Record actions, and change pins.
    Write,
    /// RecommendParams for versions, and change which are served.
    Admin,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) name: String,
    roles: Vec<Role>,
}

/// Why a file of callers cannot be used. Never says a token.
#[derive(Debug, thiserror::Error)]
pub enum CallersError {
    /// It cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is no file of callers.
    #[error("{}: {reason}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Those who may call, as the file says now.
#[derive(Debug)]
pub(crate) struct Callers {
    path: PathBuf,
    current: ArcSwap<Known>,
}

struct Known {
    /// By hashes, so that how long a search takes tells nothing about a token.
    by_token: HashMap<Hash, Arc<Caller>>,
    by_certificate: HashMap<String, Arc<Caller>>,
    /// Hash of the file, to tell whether it changed.
    file: Hash,
}

/// The form of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    caller: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    roles: Vec<Role>,
    token: Option<String>,
    certificate: Option<String>,
}

impl Callers {
    pub(crate) fn open(path: PathBuf) -> Result<Self, CallersError> {
        let current = ArcSwap::from_pointee(Known::read(&path)?);
        Ok(Self { path, current })
    }

    /// Takes over what the file says now. Whether that is anything new; after an
    /// error what it said before still holds.
    pub(crate) fn reload(&self) -> Result<bool, CallersError> {
        let known = Known::read(&self.path)?;
        let is_new = known.file != self.current.load().file;
        if is_new {
            self.current.store(Arc::new(known));
        }
        Ok(is_new)
    }

    /// The caller with this token, if it has one, else with this certificate.
    pub(crate) fn resolve(
        &self,
        token: Option<&[u8]>,
        certificate: &Certificate,
    ) -> Result<Arc<Caller>, CallError> {
        let known = self.current.load();
        let refused = |reason: &str| CallError::Unauthenticated(reason.to_owned());
        match (token, certificate) {
            (Some(token), _) => {
                let caller = known.by_token.get(&hash(&[token]));
                caller
                    .cloned()
                    .ok_or_else(|| refused("the token is not known"))
            }
            (None, Certificate::Of(names)) => {
                let caller = names.iter().find_map(|name| known.by_certificate.get(name));
                let named = || format!("no caller has the certificate of {}", names.join(", "));
                caller.cloned().ok_or_else(|| refused(&named()))
            }
            (None, certificate) => Err(unverified(certificate)),
        }
    }
}

/// Why a call that shows only this is refused.
pub(crate) fn unverified(certificate: &Certificate) -> CallError {
    CallError::Unauthenticated(match certificate {
        Certificate::None | Certificate::Of(_) => "neither a token nor a certificate".to_owned(),
        Certificate::Refused(reason) => format!("the certificate does not hold: {reason}"),
    })
}

impl Caller {
    /// One who may do everything.
    pub(crate) fn of_all_roles(name: &str) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            roles: vec![Role::Read, Role::Write, Role::Admin],
        })
    }

    /// Refuses what needs a role that the caller does not have.
    pub(crate) fn check(&self, role: Role) -> Result<(), CallError> {
        match self.roles.contains(&role) {
            true => Ok(()),
            false => Err(CallError::Forbidden(self.name.clone(), role)),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        })
    }
}

impl Known {
    fn read(path: &Path) -> Result<Self, CallersError> {
        let text = fs::read_to_string(path).map_err(|error| CallersError::File {
            path: path.to_owned(),
            error,
        })?;
        Self::parse(&text).map_err(|reason| CallersError::Contents {
            path: path.to_owned(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let format = config::FileFormat::Toml;
        let source = config::Config::builder().add_source(config::File::from_str(text, format));
        // The words of the parser may quote the file, and so a token.
        let listed = source.build().ok();
        let listed = listed.and_then(|source| source.try_deserialize::<Listed>().ok());
        let listed = listed.ok_or_else(|| {
            "is no list of [[caller]] with name, roles (read, write, admin) and token or certificate"
                .to_owned()
        })?;
        let mut known = Self {
            by_token: HashMap::new(),
            by_certificate: HashMap::new(),
            file: hash(&[text]),
        };
        for Entry {
            name,
            roles,
            token,
            certificate,
        } in listed.caller
        {
            let wrong = |reason: &str| Err(format!("caller {name}: {reason}"));
            if roles.is_empty() {
                return wrong("has no role");
            }
            if token.is_none() && certificate.is_none() {
                return wrong("has neither a token nor a certificate");
            }
            if token.as_ref().is_some_and(|token| token.len() < MIN_TOKEN) {
                return wrong("has a token of less than 16 bytes");
            }
            let caller = Arc::new(Caller {
                name: name.clone(),
                roles,
            });
            let token = token.map(|token| hash(&[token]));
            let doubled = token.and_then(|token| known.by_token.insert(token, caller.clone()));
            if let Some(other) = doubled {
                return wrong(&format!("has the token of {}", other.name));
            }
            let doubled = certificate.and_then(|of| known.by_certificate.insert(of, caller));
            if let Some(other) = doubled {
                return wrong(&format!("has the certificate of {}", other.name));
            }
        }
        Ok(known)
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a-token-that-nobody-guesses";

    #[test]
    fn bad_files_are_refused_without_a_word_of_their_tokens() {
        let roles = r#"roles = ["read"]"#;
        let caller = |rest: &str| format!("[[caller]]\nname = \"ranker\"\n{rest}\n");
        let bad = [
            (
                caller(&format!("roles = []\ntoken = \"{SECRET}\"")),
                "no role",
            ),
            (caller(roles), "neither a token"),
            (caller(&format!("{roles}\ntoken = \"short\"")), "16 bytes"),
            (caller(&format!("roles = [\"{SECRET}\"]")), "is no list"),
            (format!("{SECRET} = [["), "is no list"),
            (
                caller(&format!("{roles}\ntoken = \"{SECRET}\"")).repeat(2),
                "token of ranker",
            ),
            (
                caller(&format!("{roles}\ncertificate = \"c\"")).repeat(2),
                "certificate of ranker",
            ),
        ];
        for (text, reason) in bad {
            let error = Known::parse(&text).expect_err(&text);
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains(SECRET), "{error}");
        }
    }

    #[test]
    fn a_caller_is_known_by_its_token_or_else_its_certificate() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let write = |text: &str| fs::write(file.path(), text).expect("a disk");
        write(&format!(
            "[[caller]]\nname = \"a\"\nroles = [\"read\"]\ntoken = \"{SECRET}\"\n\
             [[caller]]\nname = \"b\"\nroles = [\"write\"]\ncertificate = \"spiffe://x/b\"\n"
        ));
        let callers = Callers::open(file.path().to_owned()).expect("a list");
        let of_b = Certificate::Of(vec!["b.example".to_owned(), "spiffe://x/b".to_owned()]);
        let name = |token: Option<&str>, certificate: &Certificate| {
            let known = callers.resolve(token.map(str::as_bytes), certificate);
            known.map(|caller| caller.name.clone())
        };
        assert_eq!(name(Some(SECRET), &of_b), Ok("a".to_owned()));
        assert_eq!(name(None, &of_b), Ok("b".to_owned()));
        // A wrong token is not made good by a certificate.
        for (token, certificate) in [
            (Some("another-long-token"), of_b.clone()),
            (None, Certificate::Of(vec!["c".to_owned()])),
            (None, Certificate::None),
            (None, Certificate::Refused("it is expired".to_owned())),
        ] {
            let refused = name(token, &certificate);
            assert!(
                matches!(refused, Err(CallError::Unauthenticated(_))),
                "{refused:?}"
            );
        }
        let a = callers.resolve(Some(SECRET.as_bytes()), &Certificate::None);
        let a = a.expect("known");
        assert_eq!(a.check(Role::Read), Ok(()));
        assert_eq!(
            a.check(Role::Admin),
            Err(CallError::Forbidden("a".to_owned(), Role::Admin))
        );

        assert!(!callers.reload().expect("the same"));
        write("nonsense");
        callers.reload().expect_err("nonsense");
        assert_eq!(name(None, &of_b), Ok("b".to_owned()));
        write("[[caller]]\nname = \"c\"\nroles = [\"read\"]\ncertificate = \"c\"\n");
        assert!(callers.reload().expect("a list"));
        assert!(name(None, &of_b).is_err());
    }
}
