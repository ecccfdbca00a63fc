//! What is printed goes to whoever reads it, and to nobody else's harm.

use std::{
    fs::File,
    io::{PipeWriter, pipe},
    process::{Command, Output, Stdio},
};

use testbed::Cluster;

use crate::support::folder::Folder;

/// Returns the writing end of a pipe that nobody reads any more, as that of `podrefresh … | head -1` soon is.
fn closed() -> PipeWriter {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer
}

/// Runs the program with a kubeconfig, and its standard output to `to`.
async fn run(words: &[&str], kubeconfig: &str, to: Stdio) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podrefresh"));
    command.args(words).env_clear().stdin(Stdio::null());
    command
        .env("HOME", "/nonexistent")
        .env("KUBECONFIG", kubeconfig);
    command.stdout(to).stderr(Stdio::piped());
    // Whoever serves it must not be kept from it.
    let run = tokio::task::spawn_blocking(move || command.output().unwrap());
    run.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_read_enough_is_no_fault() {
    let cluster = Cluster::start().await.unwrap();
    let folder = Folder::new();
    let kubeconfig = folder.write("kubeconfig", &cluster.kubeconfig());
    let kubeconfig = kubeconfig.to_str().unwrap();
    let fixed = format!("127.0.0.1:1/a@sha256:{}", "0".repeat(64));
    let certs = format!("--out={}", folder.path().join("certs").display());
    for words in [
        &["man"][..],
        &["completions", "bash"],
        &["--help"],
        &["digest", &fixed, &fixed],
        &["certs", &certs],
        &["status", "-n", "default", "-o", "json"],
        &["once", "--dry-run", "--log-filter=off"],
    ] {
        let ended = run(words, kubeconfig, closed().into()).await;
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(0), "{words:?}: {told}");
        assert!(!told.contains("error"), "{words:?}: {told}");
    }
    // A disk that is full is one.
    let full = File::options().write(true).open("/dev/full").unwrap();
    let ended = run(&["man"], kubeconfig, full.into()).await;
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(
        told.starts_with("error: cannot print: No space left"),
        "{told}"
    );
}
