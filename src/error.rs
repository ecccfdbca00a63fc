//! How an error and its causes are printed: once, on one line, where the error is handled.

use std::{error::Error, fmt};

/// Displays an error and all its causes on one line, separated by colons.
///
/// Of a message that has several lines only the first counts: parsers draw the place of a fault below it.
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = first_line(self.0);
        f.write_str(&said)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = first_line(error);
            // Some libraries repeat their cause in their own message.
            if !said.ends_with(&text) {
                write!(f, ": {text}")?;
            }
            said = text;
            cause = error.source();
        }
        Ok(())
    }
}

fn first_line(error: &dyn Error) -> String {
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim);
    lines
        .find(|line| !line.is_empty())
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &dyn Error)
        }
    }

    #[track_caller]
    fn check(messages: &[&'static str], expected: &str) {
        let link = messages
            .iter()
            .rev()
            .fold(None, |cause, text| Some(Box::new(Link(text, cause))));
        assert_eq!(Chain(&*link.unwrap()).to_string(), expected);
    }

    #[test]
    fn causes_follow_what_they_caused() {
        check(&["no digest"], "no digest");
        check(
            &["no digest", "no answer", "refused"],
            "no digest: no answer: refused",
        );
    }

    #[test]
    fn a_cause_is_said_once() {
        check(&["no answer: refused", "refused"], "no answer: refused");
        check(&["refused", "refused", "by a rule"], "refused: by a rule");
    }

    #[test]
    fn an_error_has_one_line() {
        check(
            &["no cluster", "line 1: oops\n --> 1:1\n  |"],
            "no cluster: line 1: oops",
        );
        check(&["\n  two:\n  three"], "two:");
    }
}
