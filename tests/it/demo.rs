//! The README's way from nothing to a refreshed pod, on the cluster that `make demo ARGS=--stay` keeps up.

use std::{
    env,
    path::PathBuf,
    process::{Command, Stdio},
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines},
    process::{Child, ChildStdout},
    time::timeout,
};

use crate::support::{
    files::read,
    kube::{PATIENCE, eventually},
    kubectl::Kubectl,
    look::on_testbed,
    markdown::{section, shell_blocks},
    skip::{Missing, need},
};

/// Returns the demo as it was built beside these tests.
fn program() -> Result<PathBuf, Missing> {
    let here = env::current_exe().unwrap();
    let debug = here.parent().and_then(|deps| deps.parent()).unwrap();
    let demo = debug.join("examples/demo");
    match demo.is_file() {
        true => Ok(demo),
        false => Err(Missing(
            "there is no demo: cargo build --example demo makes it".to_owned(),
        )),
    }
}

/// The demo, at a terminal of its own.
struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Demo {
    /// Starts it, with its cluster kept up.
    fn start(program: PathBuf) -> Self {
        let mut demo = Command::new(program);
        demo.arg("--stay")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit());
        let mut child = tokio::process::Command::from(demo)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    /// Waits for a line with `part` in it, and returns the line.
    async fn says(&mut self, part: &str) -> String {
        let said = async {
            while let Some(line) = self.lines.next_line().await.unwrap() {
                if line.contains(part) {
                    return line;
                }
            }
            panic!("it ended without {part:?}");
        };
        let said = timeout(PATIENCE, said).await;
        said.unwrap_or_else(|_| panic!("waited in vain for {part:?}"))
    }

    /// Types a line.
    async fn type_in(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin
            .write_all(format!("{line}\n").as_bytes())
            .await
            .unwrap();
    }
}

/// Returns the second column of a table without its head.
fn column(table: &str) -> Vec<&str> {
    let rows = table.lines().skip(1);
    rows.map(|row| row.split_whitespace().nth(1).unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn with_kubectl_alone_one_gets_from_nothing_to_refreshed_pods() {
    if !on_testbed() {
        return;
    }
    let (Some(program), Some(kubectl)) = (need(program()), need(Kubectl::find())) else {
        return;
    };
    let mut demo = Demo::start(program);
    let export = demo.says("export KUBECONFIG=").await;
    let (_, kubeconfig) = export.split_once('=').unwrap();
    let kubectl = kubectl.with(kubeconfig.as_ref());
    let run = async |script: &str| {
        let mut shell = tokio::process::Command::from(kubectl.shell(script));
        let ran = timeout(PATIENCE, shell.kill_on_drop(true).output()).await;
        let ran = ran.unwrap_or_else(|_| panic!("{script}: still running"));
        let ran = ran.unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.success(), "{script}: {said}");
        // What kubectl grumbles about would worry a newcomer.
        assert!(!said.contains("Warning"), "{script}: {said}");
        String::from_utf8(ran.stdout).unwrap()
    };

    let readme = read("README.md");
    let blocks = shell_blocks(section(&readme, "## Quickstart"));
    let [(_, install), (_, label), (_, digests), (_, remove)] = &blocks[..] else {
        panic!("four blocks, not {blocks:#?}");
    };
    let installed = run(install).await;
    assert!(
        installed.contains("deployment.apps/podrefresh created")
            && installed.contains("successfully rolled out"),
        "{installed}"
    );
    run(label).await;
    let before = run(digests).await;
    let before = column(&before);
    assert!(
        4 < before.len() && before.iter().all(|it| it.starts_with("sha256:")),
        "{before:?}"
    );

    demo.type_in("push").await;
    // "pushed sha256:6449c57b2b59 as 127.0.0.1:37139/shop/app:stable"
    let pushed = demo.says(" pushed sha256:").await;
    let pushed = pushed
        .split_whitespace()
        .find(|word| word.starts_with("sha256:"));
    let pushed = pushed.unwrap().to_owned();
    assert!(!before[0].starts_with(&pushed));
    let refreshed = async || {
        let now = run(digests).await;
        let now = column(&now);
        let is_new = now.iter().all(|it| it.starts_with(&pushed));
        (is_new && now.len() == before.len()).then_some(())
    };
    eventually(
        "the pushed digest all over the quickstart's table",
        refreshed,
    )
    .await;

    let removed = run(remove).await;
    assert!(
        removed.contains("namespace \"podrefresh\" deleted"),
        "{removed}"
    );
    let id = demo.child.id().unwrap().to_string();
    let mut interrupt = tokio::process::Command::new("sh");
    interrupt.args(["-c", "kill -s INT \"$1\"", "sh", &id]);
    assert!(interrupt.status().await.unwrap().success());
    let ended = timeout(PATIENCE, demo.child.wait()).await.unwrap().unwrap();
    assert!(ended.success(), "{ended}");
}
