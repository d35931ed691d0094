//! The file of callers: each has roles, and a token or a certificate that identifies it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, fs, io};

use arc_swap::ArcSwap;
use serde::Deserialize;

use super::digest::{Digest, Reloaded, hash};
use super::identity::{Caller, Certificate, Role};
use crate::serve::status::CallError;

/// Shortest token, in bytes: shorter ones can be guessed.
const MIN_TOKEN_LEN: usize = 16;

/// A file of callers cannot be used. The text never quotes a token.
#[derive(Debug, thiserror::Error)]
pub enum CallersError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it cannot be read.
        error: io::Error,
    },
    /// The file is no list of callers.
    #[error("{}: {reason}", path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// The callers in a file, which can be read again while the server runs.
#[derive(Debug)]
pub(crate) struct Callers {
    path: PathBuf,
    current: ArcSwap<CallerTable>,
}

/// Callers by what identifies them.
struct CallerTable {
    /// By the digest of a token, so that the duration of a lookup discloses nothing
    /// about the token.
    by_token: HashMap<Digest, Arc<Caller>>,
    by_certificate: HashMap<String, Arc<Caller>>,
    /// Digest of the file, to see whether it changed.
    file: Digest,
}

/// Format of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallersFile {
    caller: Vec<CallerEntry>,
}

/// One caller in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CallerEntry {
    name: String,
    roles: Vec<Role>,
    token: Option<String>,
    certificate: Option<String>,
}

impl Callers {
    /// Reads the file at `path`.
    pub(super) fn open(path: PathBuf) -> Result<Self, CallersError> {
        let current = ArcSwap::from_pointee(CallerTable::read(&path)?);
        Ok(Self { path, current })
    }

    /// Reads the file again. After an error the old callers stay in use.
    pub(super) fn reload(&self) -> Result<Reloaded, CallersError> {
        let table = CallerTable::read(&self.path)?;
        if table.file == self.current.load().file {
            return Ok(Reloaded::Unchanged);
        }
        self.current.store(Arc::new(table));
        Ok(Reloaded::Changed)
    }

    /// Returns the caller with this token, if the call has one, else the caller with
    /// this certificate. The error is UNAUTHENTICATED.
    pub(super) fn identify(
        &self,
        token: Option<&[u8]>,
        certificate: &Certificate,
    ) -> Result<Arc<Caller>, CallError> {
        let table = self.current.load();
        match (token, certificate) {
            (Some(token), _) => table.with_token(token),
            (None, Certificate::Verified(names)) => table.with_certificate(names),
            (None, Certificate::Absent | Certificate::Invalid(_)) => {
                Err(refuse_certificate(certificate))
            }
        }
    }
}

/// Creates the error of a call that has no token, and no valid certificate either.
pub(super) fn refuse_certificate(certificate: &Certificate) -> CallError {
    CallError::Unauthenticated(match certificate {
        Certificate::Absent | Certificate::Verified(_) => {
            "neither a token nor a certificate".to_owned()
        }
        Certificate::Invalid(reason) => format!("the certificate does not hold: {reason}"),
    })
}

impl CallerTable {
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
        // The parser's own words may quote the file, and so a token.
        let file = source.build().ok();
        let file = file.and_then(|source| source.try_deserialize::<CallersFile>().ok());
        let file = file.ok_or_else(|| {
            "is no list of [[caller]] with name, roles (read, write, admin) and token or certificate"
                .to_owned()
        })?;
        let mut table = Self {
            by_token: HashMap::new(),
            by_certificate: HashMap::new(),
            file: hash(&[text]),
        };
        for entry in file.caller {
            let name = entry.name.clone();
            let inserted = table.insert(entry);
            inserted.map_err(|reason| format!("caller {name}: {reason}"))?;
        }
        Ok(table)
    }

    fn insert(&mut self, entry: CallerEntry) -> Result<(), String> {
        entry.validate()?;
        let caller = Arc::new(Caller {
            name: entry.name,
            roles: entry.roles,
        });
        let digest = entry.token.map(|token| hash(&[token]));
        let duplicate = digest.and_then(|digest| self.by_token.insert(digest, caller.clone()));
        if let Some(other) = duplicate {
            return Err(format!("has the token of {}", other.name));
        }
        let certificate = entry.certificate;
        let duplicate = certificate.and_then(|name| self.by_certificate.insert(name, caller));
        if let Some(other) = duplicate {
            return Err(format!("has the certificate of {}", other.name));
        }
        Ok(())
    }

    fn with_token(&self, token: &[u8]) -> Result<Arc<Caller>, CallError> {
        let caller = self.by_token.get(&hash(&[token])).cloned();
        let reason = "the token is not known";
        caller.ok_or_else(|| CallError::Unauthenticated(reason.to_owned()))
    }

    fn with_certificate(&self, names: &[String]) -> Result<Arc<Caller>, CallError> {
        let caller = names.iter().find_map(|name| self.by_certificate.get(name));
        let reason = || format!("no caller has the certificate of {}", names.join(", "));
        let caller = caller.cloned();
        caller.ok_or_else(|| CallError::Unauthenticated(reason()))
    }
}

impl CallerEntry {
    fn validate(&self) -> Result<(), String> {
        let reason = if self.roles.is_empty() {
            "has no role"
        } else if self.token.is_none() && self.certificate.is_none() {
            "has neither a token nor a certificate"
        } else if self.has_short_token() {
            "has a token of less than 16 bytes"
        } else {
            return Ok(());
        };
        Err(reason.to_owned())
    }

    fn has_short_token(&self) -> bool {
        let token = self.token.as_ref();
        token.is_some_and(|token| token.len() < MIN_TOKEN_LEN)
    }
}

impl fmt::Debug for CallerTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallerTable").finish_non_exhaustive()
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
            let error = CallerTable::parse(&text).expect_err(&text);
            assert!(error.contains(reason), "{error}");
            assert!(!error.contains(SECRET), "{error}");
        }
    }

    #[test]
    fn a_caller_is_identified_by_its_token_or_else_its_certificate() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let write = |text: &str| fs::write(file.path(), text).expect("a disk");
        write(&format!(
            "[[caller]]\nname = \"a\"\nroles = [\"read\"]\ntoken = \"{SECRET}\"\n\
             [[caller]]\nname = \"b\"\nroles = [\"write\"]\ncertificate = \"spiffe://x/b\"\n"
        ));
        let callers = Callers::open(file.path().to_owned()).expect("a list");
        let of_b = Certificate::Verified(vec!["b.example".to_owned(), "spiffe://x/b".to_owned()]);
        let name = |token: Option<&str>, certificate: &Certificate| {
            let caller = callers.identify(token.map(str::as_bytes), certificate);
            caller.map(|caller| caller.name.clone())
        };
        assert_eq!(name(Some(SECRET), &of_b), Ok("a".to_owned()));
        assert_eq!(name(None, &of_b), Ok("b".to_owned()));
        // A wrong token is not made good by a certificate.
        for (token, certificate) in [
            (Some("another-long-token"), of_b.clone()),
            (None, Certificate::Verified(vec!["c".to_owned()])),
            (None, Certificate::Absent),
            (None, Certificate::Invalid("it is expired".to_owned())),
        ] {
            let refused = name(token, &certificate);
            assert!(
                matches!(refused, Err(CallError::Unauthenticated(_))),
                "{refused:?}"
            );
        }
        let a = callers.identify(Some(SECRET.as_bytes()), &Certificate::Absent);
        let a = a.expect("known");
        assert!(a.has_role(Role::Read) && !a.has_role(Role::Admin));

        assert_eq!(callers.reload().expect("the same"), Reloaded::Unchanged);
        write("nonsense");
        callers.reload().expect_err("nonsense");
        assert_eq!(name(None, &of_b), Ok("b".to_owned()));
        write("[[caller]]\nname = \"c\"\nroles = [\"read\"]\ncertificate = \"c\"\n");
        assert_eq!(callers.reload().expect("a list"), Reloaded::Changed);
        assert!(name(None, &of_b).is_err());
    }
}
