//! `podrefresh certs`: what it writes, prints and refuses.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use podrefresh::tls::chain;
use rustls_pki_types::{ServerName, UnixTime};

use crate::support::{
    folder::Folder,
    program::{Outcome, Program},
};

async fn certs(folder: &Path, flags: &[&str]) -> Outcome {
    let out = ["certs", "--out", folder.to_str().unwrap()];
    Program::new(out.into_iter().chain(flags.iter().copied()))
        .run()
        .await
}

#[track_caller]
fn check_done(outcome: &Outcome) {
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome}");
}

#[track_caller]
fn check_failed(outcome: &Outcome, words: &[&str]) {
    assert_eq!((outcome.code, &*outcome.stdout), (Some(1), ""), "{outcome}");
    for word in words {
        assert!(outcome.complaint().contains(word), "no {word:?}: {outcome}");
    }
}

/// Checks whether a client that trusts the folder's authority accepts its certificate.
#[track_caller]
fn check_trusted(folder: &Path, name: &str, in_days: u64, expected: bool) {
    let read = |name: &str| chain::certificates(&fs::read(folder.join(name)).unwrap()).unwrap();
    let key = fs::read(folder.join("tls.key")).unwrap();
    chain::certified_key(&fs::read(folder.join("tls.crt")).unwrap(), &key).unwrap();
    let at = UnixTime::now().as_secs() + in_days * 24 * 60 * 60;
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
    let name = ServerName::try_from(name).unwrap();
    let verified = chain::verify(&read("tls.crt"), &read("ca.crt"), &name, at);
    assert_eq!(
        verified.is_ok(),
        expected,
        "{name:?} in {in_days} days: {verified:?}"
    );
}

fn files(folder: &Path) -> Vec<(String, u32)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            (entry.file_name().into_string().unwrap(), mode)
        })
        .collect();
    files.sort();
    files
}

#[tokio::test]
async fn an_authority_and_a_certificate_are_written_with_private_keys() {
    let folder = Folder::new();
    let out: PathBuf = folder.path().join("deep/my certs");
    let names = ["--dns=hook.example", "--dns=10.1.2.3,other.example"];
    let outcome = certs(&out, &names).await;
    check_done(&outcome);
    let expected = [
        ("ca.crt", 0o644),
        ("ca.key", 0o600),
        ("tls.crt", 0o644),
        ("tls.key", 0o600),
    ];
    assert_eq!(
        files(&out),
        expected.map(|(name, mode)| (name.to_owned(), mode))
    );
    for name in [
        "podrefresh.podrefresh.svc",
        "hook.example",
        "other.example",
        "10.1.2.3",
    ] {
        check_trusted(&out, name, 364, true);
    }
    check_trusted(&out, "podrefresh.other.svc", 0, false);
    check_trusted(&out, "hook.example", 366, false);
    // What to do next: one word a path, and the bundle.
    let bundle = STANDARD.encode(fs::read(out.join("ca.crt")).unwrap());
    let key = format!("--key='{}'", out.join("tls.key").display());
    for part in [
        &*key,
        "kubectl -n podrefresh create secret tls podrefresh-serving",
        "kubectl patch ${kind}webhookconfiguration podrefresh",
        &bundle,
    ] {
        assert!(outcome.stdout.contains(part), "no {part}: {outcome}");
    }
    assert!(!outcome.stdout.contains("PRIVATE"), "{outcome}");
}

#[tokio::test]
async fn names_and_validity_are_chosen() {
    let folder = Folder::new();
    let flags = [
        "--service-name=hook",
        "--namespace=infra",
        "--validity=3650d",
        "--webhook-name=mine",
    ];
    let outcome = certs(folder.path(), &flags).await;
    check_done(&outcome);
    check_trusted(folder.path(), "hook.infra.svc", 3649, true);
    check_trusted(folder.path(), "podrefresh.podrefresh.svc", 0, false);
    assert!(
        outcome.stdout.contains("kubectl -n infra create secret"),
        "{outcome}"
    );
    assert!(
        outcome.stdout.contains("webhookconfiguration mine "),
        "{outcome}"
    );
    let bad = certs(folder.path(), &["--service-name=a.b", "--force"]).await;
    check_failed(&bad, &["\"a.b\"", "no name that a Service can have"]);
}

#[tokio::test]
async fn nothing_is_overwritten_unless_told_to() {
    let folder = Folder::new();
    let kept = folder.write("tls.key", "mine");
    let refused = certs(folder.path(), &[]).await;
    check_failed(&refused, &[kept.to_str().unwrap(), "--force"]);
    assert_eq!(fs::read_to_string(&kept).unwrap(), "mine");
    assert_eq!(files(folder.path()).len(), 1);
    check_done(&certs(folder.path(), &["--force"]).await);
    check_trusted(folder.path(), "podrefresh.podrefresh.svc", 0, true);
    // A key that was open to all is not any more.
    assert!(files(folder.path()).contains(&("tls.key".to_owned(), 0o600)));
}

#[tokio::test]
async fn an_authority_can_be_kept() {
    let folder = Folder::new();
    let read = |name: &str| fs::read(folder.path().join(name)).unwrap();
    check_failed(
        &certs(folder.path(), &["--keep-ca"]).await,
        &["cannot read", "ca.crt"],
    );
    check_done(&certs(folder.path(), &[]).await);
    let (authority, certificate) = (read("ca.crt"), read("tls.crt"));
    let again = certs(folder.path(), &["--keep-ca", "--force"]).await;
    check_done(&again);
    assert!(!again.stdout.contains("caBundle\""), "{again}");
    assert_eq!(read("ca.crt"), authority);
    assert_ne!(read("tls.crt"), certificate);
    check_trusted(folder.path(), "podrefresh.podrefresh.svc", 364, true);
    let long = certs(folder.path(), &["--keep-ca", "--force", "--validity=3000d"]).await;
    check_failed(&long, &["ends before the certificate would", "--validity"]);
    fs::write(folder.path().join("ca.key"), "?").unwrap();
    let broken = certs(folder.path(), &["--keep-ca", "--force"]).await;
    check_failed(&broken, &["ca.key", "no key that can sign"]);
    check_trusted(folder.path(), "podrefresh.podrefresh.svc", 364, true);
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let folder = Folder::new();
    let file = folder.write("file", "");
    check_failed(&certs(&file, &[]).await, &[file.to_str().unwrap()]);
    let usage = Program::new(["certs"]).run().await;
    assert_eq!(usage.code, Some(2), "{usage}");
    assert!(usage.stderr.contains("--out"), "{usage}");
    for (flag, allowed) in [
        ("--validity=soon", "365d or 8760h"),
        ("--validity=0d", "1h to 3650d"),
        ("--dns=a b", "DNS name or an IP address"),
    ] {
        let usage = certs(folder.path(), &[flag]).await;
        assert_eq!(usage.code, Some(2), "{usage}");
        assert!(usage.stderr.contains(allowed), "{usage}");
    }
}
