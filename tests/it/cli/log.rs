//! What is logged by whom, and in which form.

use super::cluster::installed;
use serde_json::Value;

use crate::support::program::{Outcome, Program};

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

/// Runs a command that finds no cluster.
async fn failed(words: &[&str]) -> Outcome {
    let program = Program::new(words.iter().copied()).env("KUBECONFIG", "/nonexistent");
    let outcome = program.run().await;
    assert_eq!(outcome.code, Some(1), "{outcome}");
    outcome
}

#[tokio::test]
async fn what_fails_unattended_says_so_in_the_form_of_its_log() {
    let sidecar = ["sidecar", "--container=app", "--pod-name=web"];
    for command in [&["controller"][..], &["once"], &sidecar] {
        // No filter keeps it back.
        for filter in ["info", "off"] {
            let filter = format!("--log-filter={filter}");
            let outcome = failed(&[command, &["--log-format=json", &filter]].concat()).await;
            let line: Value = serde_json::from_str(outcome.stderr.lines().last().unwrap()).unwrap();
            let error = line["error"].as_str().unwrap();
            assert!(error.contains("/nonexistent"), "{outcome}");
            assert_eq!(line["message"], format!("Failed: {error}"));
            assert_eq!(line["level"], "ERROR");
            let time = line["timestamp"].as_str().unwrap();
            assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
            let outcome = failed(&[command, &["--log-format=text", &filter]].concat()).await;
            let complaint = format!("error: {error}\n");
            assert!(outcome.stderr.ends_with(&complaint), "{outcome}");
        }
    }
}

#[tokio::test]
async fn what_people_wait_for_fails_in_text() {
    for command in [&["status"][..], &["explain", "web"]] {
        let outcome = failed(&[command, &["--log-format=json"]].concat()).await;
        assert!(outcome.stderr.starts_with("error: "), "{outcome}");
        assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
    }
}
