use std::{io::Write, sync::mpsc};

use super::*;
use crate::registry::{pool::Network, proxy::Proxies, tests::Folder};

const NAME: &str = "registry.test";

/// Sends what is logged to whoever reads it.
struct Told(mpsc::Sender<String>);

impl Write for Told {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let _ = self.0.send(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a registry's folder whose `hosts.toml` holds each of these texts in turn; returns the lines that were logged,
/// those of the start first.
fn told(texts: &[&str]) -> Vec<String> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (sender, lines) = mpsc::channel();
    let log = tracing_subscriber::fmt()
        .with_writer(move || Told(sender.clone()))
        .with_ansi(false)
        .finish();
    tracing::subscriber::with_default(log, || {
        let folder = Folder::new();
        let write = |text: &str| folder.write(&format!("{NAME}/hosts.toml"), text);
        write(texts[0]);
        let dir = HostsDir::open(&folder.0).unwrap();
        let pools = Pools::new(
            &Network::default(),
            Proxies::default(),
            Duration::from_secs(1),
        )
        .unwrap();
        let hosts = Hosts::new(dir, Arc::new(pools), Metrics::new());
        let mut last = None;
        for text in texts {
            write(text);
            last = Some(hosts.inner.read(NAME, last));
        }
    });
    lines.iter().collect()
}

#[track_caller]
fn check(texts: &[&str], expected: &[&str]) {
    let told = told(texts);
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (line, words) in told.iter().zip(expected) {
        assert!(line.contains(words), "no {words:?}: {line}");
    }
}

#[test]
fn a_broken_file_is_told_with_what_follows_from_it() {
    const GOOD: &str = "server = 'http://127.0.0.1:1'";
    let nothing = "A registry is not asked until its folder makes sense: ";
    let kept = "What was known of a registry stays in use: ";
    check(&[GOOD], &[]);
    check(&["server = 5"], &[nothing]);
    check(&[GOOD, "server = 5", "server = 5"], &[kept]);
    let over = "usable again";
    check(&["server = 5", GOOD, "server = 5"], &[nothing, over, kept]);
}
