//! Keeps the cluster up for people with a kubectl.

use std::{io::BufRead as _, thread};

use anyhow::Context as _;
use tokio::{signal, sync::mpsc};

use crate::{
    SHOP, TAG,
    house::{House, Running},
    observer::Observer,
    pods::short,
    verdict::STAMPS,
};

/// Watches on and pushes when asked to, until Ctrl-C.
pub(crate) async fn run(
    house: &House,
    controller: &mut Running,
    observer: &mut Observer,
) -> anyhow::Result<()> {
    help(house, observer);
    observer.counts = false;
    let mut lines = typed();
    let mut seed = 4;
    loop {
        tokio::select! {
            stopped = signal::ctrl_c() => return stopped.context("cannot wait for Ctrl-C"),
            error = controller.ended() => return Err(error),
            happened = observer.step() => happened?,
            Some(line) = lines.recv() => match line.trim() {
                "" => {}
                "push" => {
                    seed += 1;
                    let digest = house.push(TAG, &seed.to_string()).await?;
                    observer.page.say(&format!("pushed {} as {}", short(&digest), house.image(TAG)));
                }
                other => observer.page.print(&format!("{other:?} is no command: push is, and Ctrl-C")),
            },
        }
    }
}

fn help(house: &House, observer: &Observer) {
    let (image, kubeconfig) = (house.image(TAG), house.kubeconfig());
    let page = &observer.page;
    page.print("");
    page.print("The cluster stays up until Ctrl-C; `push` and Enter pushes another image. In another shell:");
    page.print("");
    page.print(&format!("export KUBECONFIG={}", kubeconfig.display()));
    for command in [
        &format!("-n {SHOP} {STAMPS}"),
        &format!("-n {SHOP} describe deployment web"),
        &format!("annotate namespace {SHOP} podrefresh.io/min-age=20s"),
        &format!("-n {SHOP} scale deployment canary --replicas=3"),
        &format!("create deployment mine --image={image}"),
        "label namespace default podrefresh.io/enabled=true",
    ] {
        page.print(&format!("kubectl {command}"));
    }
    page.print("");
}

/// Returns the lines that are typed from now on.
fn typed() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    // A thread of its own: nothing can end a read from a terminal, and the process must be able to end.
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    lines
}
