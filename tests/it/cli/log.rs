//! What is logged by whom, and in which form.

use super::cluster::installed;
use crate::support::program::Program;

/// Runs a controller whose API server is away until it has said so twice, and returns what it has logged.
async fn waiting(filter: &str, format: &str) -> String {
    let cluster = installed().await;
    let _away = cluster.faults().take_down();
    let kubeconfig = cluster.kubeconfig_for("podrefresh", "podrefresh").unwrap();
    let arguments = [
        "controller",
        "--admin-addr=127.0.0.1:0",
        "--admission-addr=127.0.0.1:0",
    ];
    let program = Program::new(arguments).kubeconfig(&kubeconfig);
    let program = program
        .env("PODREFRESH_LOG_FILTER", filter)
        .env("PODREFRESH_LOG_FORMAT", format);
    let process = program.start();
    process.says("trying again").await;
    process.signal("TERM").await;
    process.ended().await.stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn kubes_own_errors_are_told_only_to_those_who_ask() {
    let kubes = "\"target\":\"kube_client";
    let usual = waiting("info", "json").await;
    assert!(
        !usual.contains(kubes) && usual.contains("\"target\":\"podrefresh"),
        "{usual}"
    );
    let debug = waiting("debug", "json").await;
    assert!(!debug.contains(kubes), "{debug}");
    let asked = waiting("info,kube_client=error", "json").await;
    assert!(asked.contains(kubes), "{asked}");
    let off = waiting("off,podrefresh::tls=warn", "json").await;
    assert!(
        off.lines()
            .all(|line| line.contains("\"target\":\"podrefresh::tls")),
        "{off}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn text_in_a_file_has_no_colours() {
    let text = waiting("info", "text").await;
    assert!(!text.contains('\u{1b}'), "{text:?}");
    let found = text
        .lines()
        .find(|line| line.contains("Found the cluster https://127.0.0.1:"));
    let (time, rest) = found.unwrap().split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    assert!(
        rest.trim_start().starts_with("INFO Found the cluster"),
        "{rest}"
    );
}
