//! The controller's own docker config, read again when it is older than half a minute.

use std::{io, path::Path, sync::Arc, time::Duration};

use super::{Config, NotAConfig, Origin, Problem, problem::Fault};
use crate::memo::{Keep, Memo};

/// The kubelet renews mounted secrets about once a minute; twice as often is soon enough.
const MAX_AGE: Duration = Duration::from_secs(30);

/// As large as a Secret may be, which is what the file commonly comes from.
const MAX_BYTES: u64 = 1 << 20;

/// A `config.json` on disk; a clone shares the last reading.
#[derive(Debug, Clone)]
pub struct DockerConfigFile {
    first: Arc<Reading>,
    memo: Arc<Memo<Arc<Path>, Arc<Reading>>>,
}

/// A docker config file cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error("docker config {path} could not be read")]
    Unreadable {
        /// Its path.
        path: Box<str>,
        /// Why.
        source: io::Error,
    },
    /// It is not a docker config.
    #[error("docker config {path} is of no use")]
    Malformed {
        /// Its path.
        path: Box<str>,
        /// Where it goes wrong.
        source: NotAConfig,
    },
}

/// What the file held. Equal pointers mean that nothing has changed between two readings.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) origin: Origin,
    pub(super) config: Config,
    /// Set while the file is of no use; `config` is then the last good one.
    pub(super) fault: Option<Fault>,
    path: Arc<Path>,
}

impl DockerConfigFile {
    /// Reads the file at `path`.
    ///
    /// A file that is of no use now is an error; one that becomes so later is a problem, and what
    /// it held before stays in use.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let shown = || path.display().to_string().into();
        let bytes = read_bounded(path).map_err(|source| OpenError::Unreadable {
            path: shown(),
            source,
        })?;
        let config = Config::from_config_json(&bytes).map_err(|source| OpenError::Malformed {
            path: shown(),
            source,
        })?;
        let path: Arc<Path> = path.into();
        let first = Arc::new(Reading {
            origin: Origin::File(Arc::clone(&path)),
            config,
            fault: None,
            path,
        });
        let memo = Memo::new(1, 100 * MAX_AGE, |_| Keep::Good(MAX_AGE));
        Ok(Self {
            first,
            memo: Arc::new(memo),
        })
    }

    /// Returns what the file holds.
    pub(super) async fn read(&self) -> Arc<Reading> {
        let ask = |last: Option<Arc<Reading>>| {
            let last = last.unwrap_or_else(|| Arc::clone(&self.first));
            async move {
                let reading = Arc::clone(&last);
                let read = tokio::task::spawn_blocking(move || reading.again()).await;
                // A reading that panicked brought no news.
                read.unwrap_or(last)
            }
        };
        let read = self.memo.get(&self.first.path, MAX_AGE, ask).await;
        read.map_or_else(|_| Arc::clone(&self.first), |hit| hit.value)
    }
}

impl Reading {
    fn again(self: Arc<Self>) -> Arc<Self> {
        let found = read_bounded(&self.path)
            .map_err(|error| Fault::File(Arc::new(error)))
            .and_then(|bytes| Ok(Config::from_config_json(&bytes)?));
        let (config, fault) = match found {
            Ok(config) => (config, None),
            Err(fault) => (self.config.clone(), Some(fault)),
        };
        let words = |fault: &Option<Fault>| fault.as_ref().map(ToString::to_string);
        if config == self.config && words(&fault) == words(&self.fault) {
            return self;
        }
        Arc::new(Self {
            origin: self.origin.clone(),
            config,
            fault,
            path: Arc::clone(&self.path),
        })
    }

    /// Returns what is wrong with the file.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let faults = (self.fault.iter().cloned()).chain(self.config.faults());
        faults.map(|fault| Problem {
            origin: self.origin.clone(),
            fault,
        })
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    use io::Read as _;

    let mut bytes = Vec::new();
    let file = std::fs::File::open(path)?;
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let text = format!("it is larger than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(reading: &Reading) -> Vec<&str> {
        reading
            .config
            .entries
            .iter()
            .map(|e| e.scope.key())
            .collect()
    }

    fn labels(reading: &Reading) -> Vec<&'static str> {
        reading.problems().map(|problem| problem.label()).collect()
    }

    fn config(key: &str) -> String {
        format!(r#"{{"auths": {{"{key}": {{"username": "ann", "password": "pw"}}}}}}"#)
    }

    #[tokio::test(start_paused = true)]
    async fn a_changed_file_is_seen_and_a_broken_one_leaves_the_last_good() {
        let dir = std::env::temp_dir().join(format!("podrefresh-{}", fastrand::u64(..)));
        std::fs::create_dir(&dir).unwrap();
        let path = dir.join("config.json");
        std::fs::write(&path, config("a.io")).unwrap();
        let file = DockerConfigFile::open(&path).unwrap();
        assert_eq!(keys(&*file.read().await), ["a.io"]);

        std::fs::write(&path, config("b.io")).unwrap();
        assert_eq!(keys(&*file.read().await), ["a.io"]);
        tokio::time::advance(MAX_AGE).await;
        let second = file.read().await;
        assert_eq!(keys(&second), ["b.io"]);

        tokio::time::advance(MAX_AGE).await;
        assert!(Arc::ptr_eq(&second, &file.read().await));

        std::fs::write(&path, "{").unwrap();
        tokio::time::advance(MAX_AGE).await;
        let third = file.read().await;
        assert_eq!(
            (keys(&third), labels(&third)),
            (vec!["b.io"], vec!["config_malformed"])
        );

        std::fs::remove_dir_all(&dir).unwrap();
        tokio::time::advance(MAX_AGE).await;
        let fourth = file.read().await;
        assert_eq!(
            (keys(&fourth), labels(&fourth)),
            (vec!["b.io"], vec!["file_unreadable"])
        );
    }

    #[test]
    fn a_file_that_is_of_no_use_at_the_start_is_an_error() {
        let missing = DockerConfigFile::open(Path::new("/nonexistent/config.json"));
        assert!(matches!(missing, Err(OpenError::Unreadable { .. })));
        let directory = DockerConfigFile::open(&std::env::temp_dir());
        assert!(matches!(directory, Err(OpenError::Unreadable { .. })));
    }
}
