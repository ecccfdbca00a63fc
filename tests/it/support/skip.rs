//! Real parts that may be missing, and tests that say so by name.

use std::{
    env, fmt,
    io::{self, Write},
    path::PathBuf,
    thread,
};

use super::files::root;

/// A real part that this machine does not have.
#[derive(Debug)]
pub(crate) struct Missing(pub(crate) String);

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns the part, or `None` after saying that the running test is skipped for want of it.
///
/// # Panics
/// With `PODREFRESH_NO_SKIP=1` a missing part is a failure: continuous integration has all of them.
#[track_caller]
pub(crate) fn need<T>(part: Result<T, Missing>) -> Option<T> {
    match part {
        Ok(part) => Some(part),
        Err(missing) => {
            let strict = env::var_os("PODREFRESH_NO_SKIP").is_some_and(|value| value == "1");
            assert!(!strict, "PODREFRESH_NO_SKIP=1 and {missing}");
            let thread = thread::current();
            let test = thread.name().unwrap_or("a test");
            say(&format!("SKIPPED {test}: {missing}"));
            None
        }
    }
}

/// Prints `line` even where the test passes.
#[expect(
    clippy::explicit_write,
    reason = "the harness keeps what `eprintln!` prints from a passing test"
)]
pub(crate) fn say(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap();
}

/// Returns where `program` is: in this checkout's `.tools/bin`, where `tests/tools.sh` puts what Debian
/// lacks, else on the PATH.
pub(crate) fn program(program: &str) -> Result<PathBuf, Missing> {
    let path = env::var_os("PATH").unwrap_or_default();
    [root().join(".tools/bin")]
        .into_iter()
        .chain(env::split_paths(&path))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
        .ok_or_else(|| Missing(format!("there is no {program}: tests/tools.sh installs it")))
}

#[test]
fn a_program_that_is_nowhere_is_missing_by_name() {
    let missing = program("podrefresh-no-such-program").unwrap_err();
    assert_eq!(
        missing.to_string(),
        "there is no podrefresh-no-such-program: tests/tools.sh installs it"
    );
    program("sh").unwrap();
}
