//! How far a run has got, while it goes on: a bar on a terminal, log lines elsewhere.

use std::{
    convert::Infallible,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use tracing::info;

use crate::refresh::Progress;

/// A bar is drawn as often as people can see it change.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// A log needs no more than this.
const LOGGED_EVERY: Duration = Duration::from_secs(10);

/// The cells of the bar.
const WIDTH: usize = 24;

/// Shows each step until it is dropped.
pub(super) async fn show(mut progress: watch::Receiver<Progress>) -> Infallible {
    let terminal = io::stderr().is_terminal();
    let pause = if terminal { DRAWN_EVERY } else { LOGGED_EVERY };
    while progress.changed().await.is_ok() {
        let step = *progress.borrow_and_update();
        if terminal {
            draw(&bar(step));
        } else {
            log(step);
        }
        sleep(pause).await;
    }
    std::future::pending().await
}

/// Takes the bar away.
pub(super) fn end() {
    if io::stderr().is_terminal() {
        draw("");
    }
}

/// Draws a line in the place of the last one. The cursor is left at its beginning, so that a log line takes
/// its place, and the bar is drawn anew below.
fn draw(line: &str) {
    let mut terminal = io::stderr().lock();
    // Nobody looks if it cannot be written.
    let _ = write!(terminal, "\r\x1b[2K{line}\r");
    let _ = terminal.flush();
}

fn log(step: Progress) {
    let Progress {
        lookups,
        answered,
        outdated,
        evicted,
        restarted,
        held,
    } = step;
    info!(
        lookups,
        answered,
        outdated,
        evicted,
        restarted,
        held,
        "Looked up {answered} of {lookups} images: {outdated} pods outdated, {evicted} evicted, {restarted} restarted, {held} held back"
    );
}

/// Returns a line for people: the lookups while there are any to wait for, then the evictions.
fn bar(step: Progress) -> String {
    let Progress {
        lookups,
        answered,
        outdated,
        evicted,
        restarted,
        held,
    } = step;
    let (what, part, whole) = if answered < lookups {
        ("Looking up images", answered, lookups)
    } else {
        ("Refreshing pods", evicted + restarted, outdated)
    };
    let full = match whole {
        0 => WIDTH,
        whole => part * WIDTH / whole,
    };
    let cells = format!("{}{}", "#".repeat(full), "-".repeat(WIDTH - full));
    format!(
        "[{cells}] {what}: {part}/{whole}  {outdated} outdated, {evicted} evicted, {restarted} restarted, {held} held"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(step: [usize; 6], expected: &str) {
        let [lookups, answered, outdated, evicted, restarted, held] = step;
        let step = Progress {
            lookups,
            answered,
            outdated,
            evicted,
            restarted,
            held,
        };
        assert_eq!(bar(step), expected);
    }

    #[test]
    fn the_bar_is_for_lookups_first_and_for_evictions_then() {
        check(
            [4, 1, 0, 0, 0, 0],
            "[######------------------] Looking up images: 1/4  0 outdated, 0 evicted, 0 restarted, 0 held",
        );
        check(
            [4, 4, 4, 1, 2, 1],
            "[##################------] Refreshing pods: 3/4  4 outdated, 1 evicted, 2 restarted, 1 held",
        );
        check(
            [4, 4, 0, 0, 0, 0],
            "[########################] Refreshing pods: 0/0  0 outdated, 0 evicted, 0 restarted, 0 held",
        );
    }
}
