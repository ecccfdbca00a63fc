//! What people write: references, windows, wishes.

use std::str;

use jiff::{Timestamp, ToSpan as _};
use podrefresh::policy::{
    ImageRef, Windows, Wishes,
    wishes::{self, Origin},
};

const DIGEST: &str = "sha256:5c7d18428cb695330c7b321a0ab796235620944d7db21099644f1762bb9e09cf";

/// An image reference: its full form is a reference, too, and the same one.
pub fn image(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let image: ImageRef = match text.parse() {
        Ok(image) => image,
        Err(error) => return drop(error.to_string()),
    };
    let same = |image: &ImageRef| image.to_string().parse::<ImageRef>().ok();
    assert_eq!(same(&image).as_ref(), Some(&image));
    let digest = || DIGEST.parse().expect("this must be a digest");
    let pinned = image.pinned_to(digest());
    assert_eq!(same(&pinned).as_ref(), Some(&pinned));
    if let Some(tagged) = image.tagged() {
        assert_eq!(same(&tagged).as_ref(), Some(&tagged));
        assert!(tagged.is_named(&tagged.to_string()));
    }
    let at = image.at_digest(digest());
    assert_eq!(at.digest(), Some(&digest()));
    let _ = image.is_named(text);
}

/// The wish `window`: when it opens next, it is open, and not a second before.
pub fn window(data: &[u8]) {
    let Ok(windows) = str::from_utf8(data).unwrap_or_default().parse::<Windows>() else {
        return;
    };
    // An hour apart over the change to summer time in Europe, one of America's, and the end of a year.
    for start in [
        "2026-03-28T12:30:00Z",
        "2026-10-31T23:59:59Z",
        "2026-12-31T00:00:00Z",
    ] {
        let start: Timestamp = start.parse().expect("this must be a timestamp");
        for hours in 0..36 {
            let now = start + hours.hours();
            match windows.opens_next(now) {
                None => assert!(windows.open(now) || !opens_soon(&windows, now), "{now}"),
                Some(next) => {
                    assert!(!windows.open(now) && now < next, "{now}: {next}");
                    assert!(windows.open(next), "{now}: {next}");
                    let before = next - 1.second();
                    assert!(before < now || !windows.open(before), "{now}: {next}");
                }
            }
        }
    }
}

/// Says whether a window opens on one of the next full minutes of two hours.
fn opens_soon(windows: &Windows, now: Timestamp) -> bool {
    (0..120).any(|minutes| windows.open(now + minutes.minutes()))
}

/// Annotations, one a line, `name=value`; those behind an empty line are the namespace's.
pub fn wishes(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (pod, namespace) = text.split_once("\n\n").unwrap_or((&text, ""));
    let (pod, namespace) = (annotations(pod), annotations(namespace));
    if let Err(refused) = Wishes::parse(&pod, &namespace) {
        assert!(!refused.faults().is_empty(), "what is refused has a reason");
        for fault in refused.faults() {
            let said = fault.to_string();
            assert!(said.len() < 2000 && !said.contains('\n'), "{said}");
        }
    }
    for fault in wishes::unknown(&pod, Origin::Pod) {
        assert!(fault.to_string().len() < 2000, "{fault}");
    }
}

fn annotations(text: &str) -> Vec<(Box<str>, Box<str>)> {
    let mut annotations: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    annotations.sort();
    annotations.dedup_by(|(a, _), (b, _)| a == b);
    annotations
}
