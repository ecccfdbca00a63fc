//! The port as strangers find it.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{FLAGS, check, plain};
use crate::support::{
    files::read, folder::Folder, kube::eventually, program::Program, world::World,
};

const IMAGE: &str = "h.io/nobody:1";

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_notification_is_refused_in_words() {
    let world = World::running(&FLAGS).await;
    let controller = &world.controllers()[0];
    check(controller.tells("image"), 400, "must be one JSON object").await;
    let unknown = r#"{"ref": "refs/heads/main"}"#;
    check(controller.tells(unknown), 422, r#"the fields ["ref"]"#).await;
    let upper = plain("h.io/Nobody:1");
    check(controller.tells(&upper), 422, "must be lower case").await;
    let digest = plain(&format!("h.io/nobody@sha256:{}", "0".repeat(64)));
    check(controller.tells(&digest), 422, "the tag must be written").await;
    let large = " ".repeat((1 << 20) + 1);
    check(controller.tells(&large), 413, "at most 1048576 bytes").await;
    let base = controller.notify_url();
    let http = super::client();
    check(http.get(&base), 405, "").await;
    check(http.post(base.replace("/push", "/")), 404, "").await;
    // And it still listens.
    controller.told(IMAGE).await;
    for (outcome, count) in [("invalid", 4.0), ("too_large", 1.0), ("taken", 1.0)] {
        let series = format!("podrefresh_notify_requests_total{{outcome=\"{outcome}\"}}");
        assert_eq!(controller.metric(&series).await, count, "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_holds_up_nobody() {
    let world = World::running(&FLAGS).await;
    let controller = &world.controllers()[0];
    let address = controller.notify.unwrap();
    // As many as there are places, none of which asks for anything.
    let mut silent = Vec::new();
    for _ in 0..256 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    controller.told(IMAGE).await;
    let mut slow = TcpStream::connect(address).await.unwrap();
    let head = b"POST /push HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n{";
    slow.write_all(head).await.unwrap();
    controller.told(IMAGE).await;
    let mut said = Vec::new();
    let answered = timeout(Duration::from_secs(60), slow.read_to_end(&mut said));
    answered.await.expect("it must be sent away").unwrap();
    let said = String::from_utf8_lossy(&said);
    assert!(said.starts_with("HTTP/1.1 408 "), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_asked_for_and_read_again() {
    let folder = Folder::new();
    let file = folder.path().join("token");
    let flag = format!("--notify-token-file={}", file.display());
    let world = World::running(&[&FLAGS[..], &[&*flag]].concat()).await;
    let controller = &world.controllers()[0];
    let body = plain(IMAGE);
    let tells = || controller.tells(&body);
    let counts = async |token: &str| {
        let taken = async || {
            let answer = tells().bearer_auth(token).send().await.unwrap();
            (answer.status() == 202).then_some(())
        };
        eventually("the token to count", taken).await;
    };
    check(tells(), 401, "the token is missing or wrong").await;
    check(tells().bearer_auth("wrong"), 401, "").await;
    check(tells().query(&[("token", "wrong")]), 401, "").await;
    check(tells().bearer_auth("first"), 401, "missing or wrong").await;
    folder.write("token", "first\n");
    counts("first").await;
    check(tells(), 401, "").await;
    check(tells().bearer_auth("first"), 202, IMAGE).await;
    check(tells().basic_auth("any", Some("first")), 202, IMAGE).await;
    check(tells().query(&[("token", "first")]), 202, IMAGE).await;
    folder.write("token", "second\n");
    counts("second").await;
    check(tells().bearer_auth("first"), 401, "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_token_is_found_out_at_the_start() {
    let folder = Folder::new();
    let empty = folder.write("token", "\n");
    let flag = format!("--notify-token-file={}", empty.display());
    let run = |flags: &[&str]| {
        let serving = ["--admission-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0"];
        let arguments = ["controller"].into_iter().chain(serving);
        Program::new(arguments.chain(flags.iter().copied()))
    };
    let usage = run(&[&flag]).run().await;
    assert_eq!(usage.code, Some(2), "{usage}");
    assert!(usage.stderr.contains("--notify-addr"), "{usage}");
    let world = World::start().await;
    let program = run(&[FLAGS[1], &flag]);
    let outcome = program.kubeconfig(world.kubeconfig_text()).run().await;
    assert_eq!(outcome.code, Some(1), "{outcome}");
    let complaint = outcome.complaint();
    let words = format!("token file {} must hold one line", empty.display());
    assert!(complaint.contains(&words), "{outcome}");
}

#[test]
fn every_outcome_is_told_and_none_that_is_not() {
    let page = read("docs/notify.md");
    for file in ["src/notify/outcome.rs", "src/refresh/sightings/nudge.rs"] {
        let text = read(file);
        for body in text.split("fn label(").skip(1) {
            let body = body.split_once("\n    }\n").unwrap().0;
            for word in body.split('"').skip(1).step_by(2) {
                assert!(page.contains(&format!("`{word}`")), "{file}: {word}");
            }
        }
    }
}
