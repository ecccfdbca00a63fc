//! The last line of a program that fails, and the line of a panic: text, or JSON where all other lines are.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    io::{self, IsTerminal as _, Write as _},
    panic::{self, PanicHookInfo},
    thread,
};

use jiff::Timestamp;
use serde::Serialize;

use super::log::Format;

/// A line in the form of the log's. It is written here, as no filter may keep it back, and a panic may come out of the
/// log itself.
#[derive(Debug, Serialize)]
struct Line<'a> {
    timestamp: String,
    level: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backtrace: Option<&'a str>,
    target: &'static str,
}

impl<'a> Line<'a> {
    fn new(message: &'a str, now: Timestamp) -> Self {
        Self {
            timestamp: format!("{now:.6}"),
            level: "ERROR",
            message,
            error: None,
            backtrace: None,
            target: "podrefresh",
        }
    }

    /// Returns the line with its end.
    fn text(&self) -> String {
        let json = serde_json::to_string(self);
        json.expect("strings must have a JSON form") + "\n"
    }
}

/// Returns the form of these lines for a program that logs in `format`: people at a terminal read text.
pub fn form(format: Format) -> Format {
    if io::stderr().is_terminal() {
        Format::Text
    } else {
        format
    }
}

/// Says why the program fails: `error` is the whole chain of causes.
pub fn tell(format: Format, error: &str) {
    say(&match format {
        Format::Text => format!("error: {error}\n"),
        Format::Json => {
            let message = format!("Failed: {error}");
            let line = Line {
                error: Some(error),
                ..Line::new(&message, Timestamp::now())
            };
            line.text()
        }
    });
}

/// Has panics told in `format` from now on.
pub fn catch_panics(format: Format) {
    if format == Format::Json {
        panic::set_hook(Box::new(|panic| say(&panicked(panic))));
    }
}

fn panicked(panic: &PanicHookInfo<'_>) -> String {
    let thread = thread::current();
    let thread = thread.name().unwrap_or("without a name");
    let why = panic.payload_as_str().unwrap_or("no words");
    let place = panic.location().map(ToString::to_string);
    let place = place.as_deref().unwrap_or("an unknown place");
    let message = format!("Panicked at {place} in thread {thread}: {why}");
    // There is one if RUST_BACKTRACE asks for it.
    let backtrace = Backtrace::capture();
    let backtrace =
        (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let line = Line {
        error: Some(why),
        backtrace: backtrace.as_deref(),
        ..Line::new(&message, Timestamp::now())
    };
    line.text()
}

/// Writes a line at once, so that no other one gets into it.
fn say(line: &str) {
    // Standard error may be closed; there is nobody left to tell.
    let _ = io::stderr().write_all(line.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::{env, process::Command};

    use serde_json::Value;

    use super::*;

    /// What tells this very test, when it runs once more in a process of its own, to panic there.
    const PANICS: &str = "PODREFRESH_TEST_PANICS";

    #[test]
    fn a_panic_is_one_line_of_json() {
        if env::var_os(PANICS).is_some() {
            catch_panics(Format::Json);
            panic!("two\nlines with \"quotes\"");
        }
        let name = thread::current().name().unwrap().to_owned();
        let run = |backtrace: &str| {
            let mut again = Command::new(env::current_exe().unwrap());
            again.args(["--exact", &name, "--nocapture"]);
            again.env(PANICS, "1").env("RUST_BACKTRACE", backtrace);
            let stderr = again.output().unwrap().stderr;
            let stderr = String::from_utf8(stderr).unwrap();
            let mut lines = stderr.lines().filter(|line| line.starts_with('{'));
            let line: Value = serde_json::from_str(lines.next().expect(&stderr)).unwrap();
            assert_eq!(lines.next(), None, "{stderr}");
            assert!(!stderr.contains("note: run with"), "{stderr}");
            line
        };
        let line = run("0");
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["error"], "two\nlines with \"quotes\"");
        assert_eq!(line.get("backtrace"), None);
        let message = line["message"].as_str().unwrap();
        let (start, rest) = message.split_once(" in thread ").unwrap();
        assert!(
            start.starts_with("Panicked at src/observe/failure.rs:"),
            "{line}"
        );
        assert_eq!(rest, format!("{name}: two\nlines with \"quotes\""));
        assert!(run("1")["backtrace"].as_str().unwrap().contains("failure"));
    }

    #[test]
    fn a_line_has_the_form_of_the_logs() {
        let line = Line {
            error: Some("a: b"),
            ..Line::new("Failed: a: b", Timestamp::UNIX_EPOCH)
        };
        assert_eq!(
            line.text(),
            r#"{"timestamp":"1970-01-01T00:00:00.000000Z","level":"ERROR","message":"Failed: a: b","error":"a: b","target":"podrefresh"}
"#
        );
    }
}
