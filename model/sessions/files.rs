//! Durable files: the one place that decides how bytes of the state directory reach the disk.
//!
//! Appending syncs the file (and the directory when the file is new); replacing goes through a temporary file,
//! sync, rename and directory sync, so that a reader sees the old content or the new and never a mixture.
//! Knows nothing of what the bytes mean.

use std::io;
use std::path::{Path, PathBuf};

use crate::env::{Env, Fs};
use crate::policy::StateWrite;

/// Why state on disk could not be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateError {
    /// The filesystem refused.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the filesystem said.
        source: io::Error,
    },
    /// The content is not what this program writes. It is left as it is, never overwritten.
    #[error("{path}:{line}: {why}; the file is left untouched: repair it or move it away")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Line, counting from 1.
        line: usize,
        /// What is wrong there.
        why: String,
    },
    /// The lock that protects the file could not be had in time.
    #[error(transparent)]
    Lock(#[from] super::LockError),
}

impl StateError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { path, source }
    }
}

/// Writes and reads files of the state directory, by policy.
#[derive(Clone)]
pub(crate) struct StateFiles {
    env: Env,
    policy: StateWrite,
}

impl StateFiles {
    pub(crate) fn new(env: Env, policy: StateWrite) -> Self {
        Self { env, policy }
    }

    fn fs(&self) -> &dyn Fs {
        self.env.fs()
    }

    /// The file's content; `None` when there is no such file.
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Vec<u8>>, StateError> {
        match self.fs().read(path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StateError::io(path)(error)),
        }
    }

    /// Whether there is such a file.
    pub(crate) fn exists(&self, path: &Path) -> Result<bool, StateError> {
        match self.fs().stat(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StateError::io(path)(error)),
        }
    }

    /// Creates the directory with its parents and makes every new name durable.
    pub(crate) fn create_dir(&self, path: &Path) -> Result<(), StateError> {
        let missing: Vec<&Path> = path.ancestors().take_while(|dir| self.fs().stat(dir).is_err()).collect();
        self.fs().create_dir_all(path).map_err(StateError::io(path))?;
        if self.policy == StateWrite::Durable {
            for created in missing {
                self.sync_parent(created)?;
            }
        }
        Ok(())
    }

    /// Appends bytes; when this returns they survive whatever comes.
    pub(crate) fn append(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        let is_new = self.policy == StateWrite::Durable && !self.exists(path)?;
        self.fs().append(path, bytes).map_err(StateError::io(path))?;
        if self.policy == StateWrite::Durable {
            self.fs().sync_file(path).map_err(StateError::io(path))?;
            if is_new {
                self.sync_parent(path)?;
            }
        }
        Ok(())
    }

    /// Replaces the whole content; a crash leaves the old content or the new.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), StateError> {
        if self.policy == StateWrite::InPlace {
            return self.fs().write(path, bytes).map_err(StateError::io(path));
        }
        let temporary = with_suffix(path, ".tmp");
        self.fs().write(&temporary, bytes).map_err(StateError::io(&temporary))?;
        if self.policy == StateWrite::Durable {
            self.fs().sync_file(&temporary).map_err(StateError::io(&temporary))?;
        }
        self.fs().rename(&temporary, path).map_err(StateError::io(path))?;
        if self.policy == StateWrite::Durable {
            self.sync_parent(path)?;
        }
        Ok(())
    }

    fn sync_parent(&self, path: &Path) -> Result<(), StateError> {
        match path.parent() {
            Some(parent) => self.fs().sync_dir(parent).map_err(StateError::io(parent)),
            None => Ok(()),
        }
    }

    /// The complete lines of a JSONL file. A torn last line (a crash during an append that nobody was told had
    /// succeeded) is cut off on disk, so that the next append starts a line of its own.
    pub(crate) fn read_lines(&self, path: &Path) -> Result<Vec<String>, StateError> {
        let Some(mut bytes) = self.read(path)? else { return Ok(Vec::new()) };
        let complete = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        if complete < bytes.len() {
            tracing::warn!(
                name: "state.torn-line-cut",
                file = %path.display(),
                bytes = bytes.len() - complete,
                "cut off a torn last line"
            );
            self.fs().truncate(path, complete as u64).map_err(StateError::io(path))?;
            bytes.truncate(complete);
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()]
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count();
            StateError::Unreadable { path: path.to_path_buf(), line, why: "not UTF-8".to_string() }
        })?;
        Ok(text.lines().map(str::to_string).collect())
    }
}

/// `path` with `suffix` after its whole name: `sessions.json` -> `sessions.json.lock`.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Reads each line as JSON; an unreadable one is an error that names it.
pub(crate) fn parse_lines<T: serde::de::DeserializeOwned>(
    path: &Path,
    lines: &[String],
) -> Result<Vec<T>, StateError> {
    let parse = |(index, line): (usize, &String)| {
        serde_json::from_str(line).map_err(|error| StateError::Unreadable {
            path: path.to_path_buf(),
            line: index + 1,
            why: error.to_string(),
        })
    };
    lines.iter().enumerate().map(parse).collect()
}

/// A value as one JSONL line.
pub(crate) fn json_line(value: &impl serde::Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("our own records have string keys and finite numbers");
    line.push(b'\n');
    line
}
