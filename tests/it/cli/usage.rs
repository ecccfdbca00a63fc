//! Wrong usage ends with exit code 2 and says what is allowed; help and version are there.

use crate::support::{
    help,
    program::{Outcome, Program},
};

/// Flags that take any text.
const ANY_TEXT: [&str; 9] = [
    "--cert-dir",
    "--credential-provider-bin-dir",
    "--credential-provider-config",
    "--docker-config",
    "--notify-token-file",
    "--registries-dir",
    "--namespace",
    "--service-name",
    "--webhook-name",
];

#[track_caller]
fn check(outcome: &Outcome, words: &[&str]) {
    assert_eq!((outcome.code, &*outcome.stdout), (Some(2), ""), "{outcome}");
    for word in words {
        assert!(outcome.stderr.contains(word), "no {word:?}: {outcome}");
    }
}

/// Checks that `controller <flag>=<value>` is refused in words that name both and what is `allowed`.
async fn check_value(flag: &str, value: &str, allowed: &str) {
    let outcome = Program::new(["controller", &format!("{flag}={value}")])
        .run()
        .await;
    check(&outcome, &[flag, &format!("'{value}'"), allowed]);
}

#[tokio::test]
async fn a_bad_value_is_answered_with_what_is_allowed() {
    check_value(
        "--poll-interval",
        "5",
        "a time such as 500ms, 30s, 5m or 1h30m",
    )
    .await;
    check_value("--poll-interval", "0s", "longer than 0s").await;
    check_value("--confirm-after", "-1s", "negative").await;
    check_value("--confirm-after", "200000000h", "at most 8760h").await;
    check_value("--lookup-timeout", "soon", "a time such as").await;
    for value in ["2s", "61m", "3500ms"] {
        check_value("--lease-duration", value, "whole seconds from 3s to 1h").await;
    }
    for value in ["8080", "localhost:8080", ":8080", "[::]:99999"] {
        check_value(
            "--admin-addr",
            value,
            "an IP address with a port, such as [::]:8443",
        )
        .await;
        check_value("--admission-addr", value, "an IP address with a port").await;
    }
    for value in ["0", "100001", "many"] {
        let allowed = "must be a number from 1 to 100000";
        check_value("--max-evictions-per-minute", value, allowed).await;
    }
    check_value("--dry-run", "maybe", "true, false").await;
    check_value("--leader-elect", "1", "true, false").await;
    check_value("--log-format", "xml", "json, text").await;
    check_value(
        "--log-filter",
        "verbose",
        "error, warn, info, debug, trace, off",
    )
    .await;
}

#[tokio::test]
async fn what_is_unknown_or_missing_is_named() {
    check(
        &Program::new(["controller", "--frob"]).run().await,
        &["'--frob'"],
    );
    check(&Program::new(["frob"]).run().await, &["'frob'"]);
    check(
        &Program::new(["controller", "extra"]).run().await,
        &["'extra'"],
    );
    check(&Program::new(["digest"]).run().await, &["<IMAGE>"]);
    check(&Program::new([]).run().await, &["controller", "digest"]);
}

#[tokio::test]
async fn an_unparsable_image_is_refused_by_its_wrong_part() {
    let check = async |image: &str, part: &str| {
        // Nobody is asked for the good one.
        let outcome = Program::new(["digest", "127.0.0.1:1/app:1", image])
            .run()
            .await;
        check(&outcome, &[&format!("'{image}'"), part]);
        assert!(!outcome.stderr.contains("127.0.0.1:1"), "{outcome}");
    };
    check("UPPER", "repository \"UPPER\" must be lower case").await;
    check("app:-1", "tag \"-1\"").await;
    check("app@sha256:12", "digest \"sha256:12\"").await;
    check(
        "reg_istry.example:5000/app",
        "registry \"reg_istry.example:5000\"",
    )
    .await;
    check(&"a".repeat(64), "64 hex digits").await;
    check("", "must not be empty").await;
}

#[tokio::test]
async fn an_unreadable_selector_is_refused_before_anything_is_asked() {
    let allowed = "app=web, tier!=db, env in (a,b), env notin (c), canary or !canary";
    for (selector, part) in [
        ("a=(", "found \"(\" in place of a value"),
        ("env in", "found the end in place of \"(\""),
        ("-a", "\"-a\" is no label's name"),
    ] {
        let words = ["--selector", &format!("'{selector}'"), part, allowed];
        let flag = Program::new(["once", &format!("--selector={selector}")]);
        check(&flag.run().await, &words);
        let variable = Program::new(["once"]).env("PODREFRESH_SELECTOR", selector);
        check(&variable.run().await, &words);
    }
}

#[tokio::test]
async fn variables_count_as_flags_do() {
    for (flag, known) in help::flags("controller") {
        if ANY_TEXT.contains(&&*flag) {
            continue;
        }
        let outcome = Program::new(["controller"])
            .env(&known.env.unwrap(), "nonsense!")
            .run()
            .await;
        check(&outcome, &[&flag, "'nonsense!'"]);
    }
    // Where both speak, the flag is heard.
    let both = Program::new(["digest", "--lookup-timeout=1s", "--version"]);
    let outcome = both.env("PODREFRESH_LOOKUP_TIMEOUT", "1s").run().await;
    assert_eq!(outcome.code, Some(0), "{outcome}");
}

#[tokio::test]
async fn help_and_version_are_no_failures() {
    for arguments in [
        &["--help"][..],
        &["-h"],
        &["help"],
        &["controller", "--help"],
        &["digest", "-h"],
        &["certs", "--help"],
    ] {
        let outcome = Program::new(arguments.iter().copied()).run().await;
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""), "{outcome}");
        assert!(outcome.stdout.contains("Usage: podrefresh"), "{outcome}");
    }
    for arguments in [&["--version"][..], &["-V"]] {
        let outcome = Program::new(arguments.iter().copied()).run().await;
        let version = concat!("podrefresh ", env!("CARGO_PKG_VERSION"), "\n");
        assert_eq!(
            (outcome.code, &*outcome.stdout),
            (Some(0), version),
            "{outcome}"
        );
    }
}
