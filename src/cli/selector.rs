//! A label selector as `kubectl get -l` takes it: read far enough to know that the API server will take it.

use std::{iter::Peekable, str::Chars};

use crate::policy::names::is_object_name;

const ALLOWED: &str = "must be requirements such as app=web, tier!=db, env in (a,b), env notin (c), canary or \
                       !canary, with commas between";

/// Parses a label selector; an empty one is none, as an empty variable is.
///
/// Source: `labels.Parse` of the API machinery, which the API server reads selectors with.
pub(super) fn selector(text: &str) -> Result<String, String> {
    match requirements(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(fault) => Err(format!("{fault}: {ALLOWED}")),
    }
}

/// A part of a selector.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `=`, `!=`, `(`, a comma and such.
    Sign(&'static str),
    Word(String),
    End,
}

/// The signs, of which the longest counts where several fit.
const SIGNS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", "<", ">"];

struct Tokens<'t> {
    rest: Peekable<Chars<'t>>,
    next: Token,
}

impl<'t> Tokens<'t> {
    fn of(text: &'t str) -> Self {
        let mut tokens = Self {
            rest: text.chars().peekable(),
            next: Token::End,
        };
        tokens.take();
        tokens
    }

    /// Returns the next token, and goes on to the one behind it.
    fn take(&mut self) -> Token {
        let next = self.read();
        std::mem::replace(&mut self.next, next)
    }

    fn read(&mut self) -> Token {
        let is_space = |c: &char| matches!(c, ' ' | '\t' | '\r' | '\n');
        while self.rest.next_if(is_space).is_some() {}
        let mut ahead = self.rest.clone();
        let first = ahead.next();
        let second = ahead.next();
        let pair: String = first.into_iter().chain(second).collect();
        if let Some(sign) = SIGNS.into_iter().find(|sign| pair.starts_with(*sign)) {
            for _ in 0..sign.len() {
                self.rest.next();
            }
            return Token::Sign(sign);
        }
        let mut word = String::new();
        let is_part = |c: &char| !is_space(c) && !"=!(),<>".contains(*c);
        while let Some(c) = self.rest.next_if(is_part) {
            word.push(c);
        }
        match word.is_empty() {
            true => Token::End,
            false => Token::Word(word),
        }
    }

    /// Takes `sign` if it is next.
    fn takes(&mut self, sign: &'static str) -> bool {
        let is_next = self.next == Token::Sign(sign);
        if is_next {
            self.take();
        }
        is_next
    }
}

impl Token {
    fn name(&self) -> String {
        match self {
            Self::Sign(sign) => format!("{sign:?}"),
            Self::Word(word) => format!("{word:?}"),
            Self::End => "the end".to_owned(),
        }
    }
}

fn requirements(text: &str) -> Result<(), String> {
    let mut tokens = Tokens::of(text);
    if tokens.next == Token::End {
        return Ok(());
    }
    loop {
        requirement(&mut tokens)?;
        match tokens.take() {
            Token::End => return Ok(()),
            Token::Sign(",") => {}
            other => {
                return Err(format!(
                    "found {} in place of a comma or the end",
                    other.name()
                ));
            }
        }
    }
}

fn requirement(tokens: &mut Tokens<'_>) -> Result<(), String> {
    let is_absent = tokens.takes("!");
    match tokens.take() {
        Token::Word(key) => check_key(&key)?,
        other => return Err(format!("found {} in place of a label's name", other.name())),
    }
    if is_absent || matches!(tokens.next, Token::End | Token::Sign(",")) {
        return Ok(());
    }
    match tokens.take() {
        Token::Sign("=" | "==" | "!=") => value(tokens),
        Token::Sign("<" | ">") => match tokens.take() {
            Token::Word(word) if word.parse::<i64>().is_ok() => check_value(&word),
            other => Err(format!("found {} in place of a whole number", other.name())),
        },
        Token::Word(word) if matches!(&*word, "in" | "notin") => set(tokens),
        other => Err(format!("found {} in place of an operator", other.name())),
    }
}

/// Takes a value, which may be empty.
fn value(tokens: &mut Tokens<'_>) -> Result<(), String> {
    match &tokens.next {
        Token::Word(value) => check_value(value)?,
        Token::End | Token::Sign("," | ")") => return Ok(()),
        Token::Sign(sign) => return Err(format!("found {sign:?} in place of a value")),
    }
    tokens.take();
    Ok(())
}

fn set(tokens: &mut Tokens<'_>) -> Result<(), String> {
    if !tokens.takes("(") {
        return Err(format!("found {} in place of \"(\"", tokens.next.name()));
    }
    if tokens.next == Token::Sign(")") {
        return Err("found no value between the parentheses".to_owned());
    }
    loop {
        value(tokens)?;
        match tokens.take() {
            Token::Sign(",") => {}
            Token::Sign(")") => return Ok(()),
            other => {
                return Err(format!("found {} in place of \",\" or \")\"", other.name()));
            }
        }
    }
}

fn check_key(key: &str) -> Result<(), String> {
    let (domain, name) = match key.split_once('/') {
        Some((domain, name)) => (Some(domain), name),
        None => (None, key),
    };
    match domain.is_none_or(is_object_name) && is_name(name) {
        true => Ok(()),
        false => Err(format!("{key:?} is no label's name")),
    }
}

fn check_value(value: &str) -> Result<(), String> {
    match is_name(value) {
        true => Ok(()),
        false => Err(format!("{value:?} is no label's value")),
    }
}

/// Says whether `text` is 1 to 63 letters, digits, `-`, `_` and `.`, with letters or digits at both ends.
fn is_name(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let bytes = text.as_bytes();
    bytes.len() <= 63 && is_end(bytes.first()) && is_end(bytes.last()) && bytes.iter().all(is_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks what is wrong with a selector, if anything is.
    #[track_caller]
    fn check(text: &str, fault: Option<&str>) {
        let found = selector(text);
        match fault {
            None => assert_eq!(found.as_deref(), Ok(text)),
            Some(fault) => {
                let said = found.expect_err(text);
                assert_eq!(said, format!("{fault}: {ALLOWED}"), "{text}");
            }
        }
    }

    #[test]
    fn what_the_api_server_takes_is_taken() {
        for text in [
            "",
            " ",
            "a",
            "!a",
            "a=b",
            "a==b",
            "a!=b",
            "a=",
            "a=,b",
            " a = b , c ",
            "a in (b)",
            "a in (b,c),d notin ( e )",
            "a in (b,)",
            "a in (,)",
            "in in (in,notin)",
            "example.com/a-b_c.d=E",
            "a>1",
            "a<1",
            "0",
        ] {
            check(text, None);
        }
        let longest = "a".repeat(63);
        check(&format!("{longest}={longest}"), None);
    }

    #[test]
    fn what_it_refuses_is_told_by_its_wrong_part() {
        check("a=(", Some("found \"(\" in place of a value"));
        check("=", Some("found \"=\" in place of a label's name"));
        check("a,", Some("found the end in place of a label's name"));
        check(",a", Some("found \",\" in place of a label's name"));
        check("a b", Some("found \"b\" in place of an operator"));
        check("a=b c", Some("found \"c\" in place of a comma or the end"));
        check("a=)", Some("found \")\" in place of a comma or the end"));
        check("!a=b", Some("found \"=\" in place of a comma or the end"));
        check("!!a", Some("found \"!\" in place of a label's name"));
        check("a in b", Some("found \"b\" in place of \"(\""));
        check("a in ()", Some("found no value between the parentheses"));
        check("a in (b", Some("found the end in place of \",\" or \")\""));
        check("a in (b c)", Some("found \"c\" in place of \",\" or \")\""));
        check("a>b", Some("found \"b\" in place of a whole number"));
        check("a>-1", Some("\"-1\" is no label's value"));
        check("-a", Some("\"-a\" is no label's name"));
        check("/a", Some("\"/a\" is no label's name"));
        check("a/", Some("\"a/\" is no label's name"));
        check("A_b/c", Some("\"A_b/c\" is no label's name"));
        check("a/b/c", Some("\"a/b/c\" is no label's name"));
        check("a=b.", Some("\"b.\" is no label's value"));
        check("a=é", Some("\"é\" is no label's value"));
        let longer = "a".repeat(64);
        check(&longer, Some(&format!("{longer:?} is no label's name")));
        let value = format!("a={longer}");
        check(&value, Some(&format!("{longer:?} is no label's value")));
    }
}
