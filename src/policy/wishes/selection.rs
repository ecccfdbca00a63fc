//! Which of a pod's containers its owner wants kept fresh.

use std::str::FromStr;

use super::fault::Refusal;

/// A list of container names and globs, some of them left out with `!`; the default takes all.
///
/// A container is taken when it matches one of the plain entries, or there are none, and matches none of
/// those with `!`. The order of the entries does not matter. `*` stands for any run of characters, `?` for one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Selection {
    taken: Box<[Box<str>]>,
    left_out: Box<[Box<str>]>,
}

impl Selection {
    /// Says whether the container called `name` is taken.
    pub fn takes(&self, name: &str) -> bool {
        let any = |globs: &[Box<str>]| {
            globs
                .iter()
                .any(|glob| matches(glob.as_bytes(), name.as_bytes()))
        };
        (self.taken.is_empty() || any(&self.taken)) && !any(&self.left_out)
    }
}

impl FromStr for Selection {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        let (mut taken, mut left_out) = (Vec::new(), Vec::new());
        for entry in text.split(',').map(str::trim) {
            let (list, glob) = match entry.strip_prefix('!') {
                Some(glob) => (&mut left_out, glob),
                None => (&mut taken, entry),
            };
            // What a container's name may have (a DNS label), and the two wildcards.
            let is_sound =
                |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-*?".contains(&b);
            if !(1..=63).contains(&glob.len()) || !glob.bytes().all(is_sound) {
                return Err(refusal().nearest(repaired(text)));
            }
            list.push(glob.into());
        }
        Ok(Self {
            taken: taken.into(),
            left_out: left_out.into(),
        })
    }
}

fn refusal() -> Refusal {
    Refusal::new(
        "container names separated by commas, such as app,worker-*,!istio-proxy, in which * stands for any \
         characters, ? for one, and ! leaves out",
    )
}

/// Returns `text` as the names of containers can be, if that is all that is wrong with it.
fn repaired(text: &str) -> Option<String> {
    // A few names: what is quoted back must be short.
    if 256 < text.len() {
        return None;
    }
    let names = text.split([',', ';', ' ']).filter(|name| !name.is_empty());
    let names = names.map(|name| name.to_lowercase().replace('_', "-"));
    let repaired = names.collect::<Vec<_>>().join(",");
    let is_sound = repaired != text && repaired.parse::<Selection>().is_ok();
    is_sound.then_some(repaired)
}

/// Says whether all of `text` matches `glob`, in time of at most the product of their lengths.
fn matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where the last star stands, and how far the text was read when it took nothing more.
    let mut star = None;
    while read < text.len() {
        match glob.get(at) {
            Some(b'*') => {
                star = Some((at, read));
                at += 1;
            }
            Some(&b) if b == b'?' || b == text[read] => {
                at += 1;
                read += 1;
            }
            _ => {
                let Some((place, taken)) = star else {
                    return false;
                };
                star = Some((place, taken + 1));
                (at, read) = (place + 1, taken + 1);
            }
        }
    }
    glob[at..].iter().all(|b| *b == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, taken: &str, left_out: &str) {
        let selection: Selection = text.parse().unwrap();
        for name in taken.split_whitespace() {
            assert!(selection.takes(name), "{text} must take {name}");
        }
        for name in left_out.split_whitespace() {
            assert!(!selection.takes(name), "{text} must leave out {name}");
        }
    }

    #[test]
    fn names_and_globs_take_containers() {
        assert!(Selection::default().takes("app"));
        check("app", "app", "app2 ap my-app");
        check("app, worker", "app worker", "other");
        check("*", "app a", "");
        check("app-*", "app- app-1 app-a-b", "app myapp-1");
        check("*-proxy", "istio-proxy -proxy", "proxy istio-proxy-2");
        check("a*b*c", "abc aXbYc abcbc", "ab acb abcd");
        check("a?c", "abc", "ac abbc");
        check("**", "app", "");
    }

    #[test]
    fn an_exclamation_mark_leaves_out_whatever_the_order() {
        check("!istio-proxy", "app worker", "istio-proxy");
        check("!istio-*,app*", "app app1", "istio-proxy worker");
        check("app*,!app1", "app app2", "app1 worker");
        check("app,!app", "", "app worker");
    }

    #[test]
    fn entries_are_names() {
        let longest = "a".repeat(63);
        assert!(longest.parse::<Selection>().is_ok());
        let longer = format!("{longest}a");
        for text in [
            "", ",", "app,", "!", "!!app", "App", "a b", "a/b", "a.b", "[ab]", "ä", &longer,
        ] {
            assert!(text.parse::<Selection>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_hostile_glob_is_matched_in_time() {
        let selection: Selection = "*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b".parse().unwrap();
        assert!(!selection.takes(&"a".repeat(5_000)));
    }

    #[test]
    fn names_as_they_may_be_meant_are_told() {
        let nearest = |text: &str| text.parse::<Selection>().unwrap_err().nearest;
        assert_eq!(nearest("App,My_Proxy").as_deref(), Some("app,my-proxy"));
        assert_eq!(nearest("app worker").as_deref(), Some("app,worker"));
        assert_eq!(nearest("app,").as_deref(), Some("app"));
        for text in ["", ",", "a/b", "!", &"A,".repeat(129)] {
            assert_eq!(nearest(text), None, "{text}");
        }
    }
}
