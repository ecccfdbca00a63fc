//! Every path that a Rust source names, `use` groups taken apart.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A path as written, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    /// Its segments: `use a::{b, c::*}` names `[a, b]` and `[a, c, *]`. Lone words are paths of one.
    pub(crate) segments: Vec<String>,
    /// The modules inside the file that it stands in: `[tests]` in `mod tests { … }`.
    pub(crate) within: Vec<String>,
    /// Its line, counted from 1.
    pub(crate) line: usize,
}

/// Returns the paths in `source`, comments and literals left out, macros' arguments included.
pub(crate) fn paths(source: &str) -> Result<Vec<Named>, String> {
    let tokens: TokenStream = source.parse().map_err(|error| format!("{error}"))?;
    let mut walk = Walk::default();
    walk.tokens(tokens);
    Ok(walk.found)
}

#[derive(Default)]
struct Walk {
    found: Vec<Named>,
    within: Vec<String>,
}

impl Walk {
    fn tokens(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut rest = &tokens[..];
        while let [first, after @ ..] = rest {
            rest = match (first, after) {
                (TokenTree::Ident(word), [TokenTree::Ident(name), TokenTree::Group(body), ..])
                    if word == "mod" && body.delimiter() == Delimiter::Brace =>
                {
                    self.within.push(name.to_string());
                    self.tokens(body.stream());
                    self.within.pop();
                    &after[2..]
                }
                // Not the head of a path, even before `::`.
                (TokenTree::Ident(word), _)
                    if ["as", "dyn", "impl", "in", "use"].iter().any(|k| word == k) =>
                {
                    after
                }
                (TokenTree::Ident(_), _) => self.path(&[], rest),
                (TokenTree::Group(group), _) => {
                    self.tokens(group.stream());
                    after
                }
                _ => after,
            };
        }
    }

    /// Reads the path at the head of `tokens`, below `prefix`; returns what stands behind it.
    fn path<'t>(&mut self, prefix: &[String], mut tokens: &'t [TokenTree]) -> &'t [TokenTree] {
        let mut segments = prefix.to_vec();
        let Some(line) = tokens.first().map(|token| token.span().start().line) else {
            return tokens;
        };
        loop {
            match tokens {
                [TokenTree::Ident(word), after @ ..] => {
                    segments.push(word.to_string());
                    tokens = after;
                }
                [TokenTree::Punct(star), after @ ..] if star.as_char() == '*' => {
                    segments.push("*".to_owned());
                    tokens = after;
                }
                [TokenTree::Group(group), after @ ..] if group.delimiter() == Delimiter::Brace => {
                    self.group(&segments, group.stream());
                    return after;
                }
                _ => break, // a turbofish, or the leading colons of an item in a group
            }
            match colons(tokens) {
                Some(after) => tokens = after,
                None => break,
            }
        }
        if segments.len() > prefix.len() {
            // `use a::{self}` names `a`.
            if !prefix.is_empty() && segments.last().is_some_and(|last| last == "self") {
                segments.pop();
            }
            self.found.push(Named {
                segments,
                within: self.within.clone(),
                line,
            });
        }
        tokens
    }

    /// Reads the items of a `use` group below `prefix`.
    fn group(&mut self, prefix: &[String], items: TokenStream) {
        let items: Vec<TokenTree> = items.into_iter().collect();
        let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
        for item in items.split(comma) {
            self.path(prefix, item);
        }
    }
}

/// Returns what stands behind the `::` at the head of `tokens`.
fn colons(tokens: &[TokenTree]) -> Option<&[TokenTree]> {
    match tokens {
        [TokenTree::Punct(one), TokenTree::Punct(two), after @ ..]
            if one.as_char() == ':' && two.as_char() == ':' =>
        {
            Some(after)
        }
        _ => None,
    }
}

#[track_caller]
fn check(source: &str, expected: &[&str]) {
    let found = paths(source).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|named| named.segments.join("::"))
        .filter(|path| path.contains("::"))
        .collect();
    assert_eq!(found, expected, "{source}");
}

#[test]
fn groups_are_taken_apart() {
    check("use a::b;", &["a::b"]);
    check(
        "use a::{b, c::{self, D as E}, f::*};",
        &["a::b", "a::c", "a::c::D", "a::f::*"],
    );
    check("use ::a::b;", &["a::b"]);
}

#[test]
fn paths_in_expressions_types_and_macros_count() {
    check(
        "fn f() -> a::B { a::c::<d::E>(x)? }",
        &["a::B", "a::c", "d::E"],
    );
    check("info!(x = a::b(), \"c::d\");", &["a::b"]);
    check("impl<T: a::B> c::D for T {}", &["a::B", "c::D"]);
    check("match x { a::B { c, d } => {} }", &["a::B"]);
}

#[test]
fn comments_and_literals_do_not_count() {
    check("// a::b\n/* c::d */ const X: &str = r#\"e::f\"#;", &[]);
}

#[test]
fn lines_and_inner_modules_are_known() {
    let found = paths("mod tests {\n    use super::a;\n}\n").unwrap();
    let expected = Named {
        segments: vec!["super".to_owned(), "a".to_owned()],
        within: vec!["tests".to_owned()],
        line: 2,
    };
    assert!(found.contains(&expected), "{found:?}");
}
