//! The whole product on a cluster of its own: `make demo`.
//!
//! The API server, the workload controllers, the nodes and the registry are those of `tests/testbed`. What
//! runs in them is `manifests/` and the real controller, as its ServiceAccount. Three images are pushed: a good
//! one, one that never becomes ready, and the one that mends it. Exits with 0 if every pod runs the last of them,
//! having got there one after the other and within the budget, and with 1 otherwise.

mod house;
mod observer;
mod page;
mod pods;
mod shop;
mod stay;
mod verdict;

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
    sync::Mutex,
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Parser as _;
use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use podrefresh::observe::log;
use serde_json::json;
use tokio::{
    signal,
    time::{Instant, timeout_at},
};

use crate::{
    house::{House, Running},
    observer::Observer,
    page::Page,
    pods::{Pods, short},
    shop::{BUDGET, PODS},
};

/// The time that all of it may take, on a slow machine too.
const DEADLINE: Duration = Duration::from_secs(60);

/// The namespace of the workloads.
const SHOP: &str = "shop";

/// The tag that is pushed to.
const TAG: &str = "stable";

/// Shows podrefresh at work on a cluster of its own.
#[derive(Debug, clap::Parser)]
#[command(name = "demo")]
struct Args {
    /// Keep the cluster up for kubectl afterwards, until Ctrl-C
    #[arg(long)]
    stay: bool,
    /// Print the controller's log as it comes
    #[arg(long)]
    verbose: bool,
}

/// A cluster in which the story has been played.
struct Scene {
    house: House,
    controller: Running,
    observer: Observer,
    passed: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Standard error may be closed; there is nobody left to tell.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether the demo has shown what it promises.
async fn run(args: &Args) -> anyhow::Result<bool> {
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        bail!("the TLS provider must be chosen once, and first");
    }
    let folder = house::folder()?;
    let log = folder.join("controller.log");
    start_log(args.verbose, &log)?;
    let passed = play(args.stay, &folder).await;
    if matches!(passed, Ok(true)) || args.verbose {
        fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    } else {
        let _ = writeln!(io::stderr(), "The controller's log is {}", log.display());
    }
    passed
}

async fn play(stay: bool, folder: &Path) -> anyhow::Result<bool> {
    let scene = tokio::select! {
        scene = act(folder) => scene?,
        interrupted = signal::ctrl_c() => {
            interrupted.context("cannot wait for Ctrl-C")?;
            bail!("interrupted");
        }
    };
    let Scene {
        house,
        mut controller,
        mut observer,
        passed,
    } = scene;
    if stay {
        stay::run(&house, &mut controller, &mut observer).await?;
    }
    controller.stop().await?;
    Ok(passed)
}

/// Plays the story, and judges it.
async fn act(folder: &Path) -> anyhow::Result<Scene> {
    let deadline = Instant::now() + DEADLINE;
    let page = Page::new();
    page.print("podrefresh on a cluster of its own: an API server, controllers, three nodes and a registry");
    page.print("");
    let set = timeout_at(deadline, set(&page, folder)).await;
    let (house, mut controller) = set.context("podrefresh was not ready in time")??;
    let mut observer = Observer::new(
        page,
        house.client.clone(),
        SHOP,
        house.cluster.journal().clone(),
    );
    let played = tokio::select! {
        error = controller.ended() => return Err(error),
        played = timeout_at(deadline, story(&house, &mut observer)) => played,
    };
    match played {
        Ok(played) => played?,
        Err(_) => observer.page.say("time is up"),
    }
    let passed = verdict::print(&house, &observer);
    Ok(Scene {
        house,
        controller,
        observer,
        passed,
    })
}

/// Starts the cluster, and podrefresh in it.
async fn set(page: &Page, folder: &Path) -> anyhow::Result<(House, Running)> {
    let house = House::start(folder).await?;
    page.say(&format!("the cluster is up at {}", house.cluster.url()));
    let objects = house.install().await?;
    page.say(&format!(
        "installed manifests/: {objects} objects, all but the Deployment"
    ));
    let controller = house.run_controller().await?;
    page.say("podrefresh is ready, with the rights of its ServiceAccount");
    Ok((house, controller))
}

/// Opts a namespace in, lets pods run, and moves their tag to a good image, a broken one and another good one.
async fn story(house: &House, observer: &mut Observer) -> anyhow::Result<()> {
    let image = house.image(TAG);
    let old = house.push(TAG, "1").await?;
    let [namespace, workloads @ ..] = &house.shop(&image)?[..] else {
        bail!("shop.yaml must begin with the namespace");
    };
    house.create(namespace).await?;
    let label = json!({"metadata": {"labels": {"podrefresh.io/enabled": "true"}}});
    let namespaces = Api::<Namespace>::all(house.client.clone());
    let labelled = namespaces
        .patch(SHOP, &PatchParams::default(), &Patch::Merge(label))
        .await;
    labelled.with_context(|| format!("cannot label the namespace {SHOP}"))?;
    observer.page.say(&format!(
        "kubectl label namespace {SHOP} podrefresh.io/enabled=true"
    ));
    for object in workloads {
        house.create(object).await?;
    }
    let (budget, apps, least) = BUDGET;
    let page = &observer.page;
    page.say(&format!(
        "created Deployments web and canary and StatefulSet cart, all of {image}"
    ));
    page.say(&format!(
        "budget {budget}: {least} of the 4 pods of {} must be Ready",
        apps.join(" and ")
    ));
    let up = |digest: &str, pods: &Pods| {
        pods.len() == PODS && pods.values().all(|pod| pod.is_on(digest))
    };
    observer.until(|pods| up(&old, pods)).await?;
    observer
        .page
        .say(&format!("all {PODS} pods are Ready and stamped"));
    observer.page.print("");
    observer
        .page
        .print(&format!("$ kubectl -n {SHOP} {}", verdict::STAMPS));
    verdict::stamps(observer);

    let new = house.push(TAG, "2").await?;
    observer.begin();
    observer.page.say(&format!(
        "pushed {} under the same tag, where {} was",
        short(&new),
        short(&old)
    ));
    observer.until(|pods| up(&new, pods)).await?;
    observer
        .page
        .say(&format!("all {PODS} pods run {}", short(&new)));
    observer.page.print("");
    mend(house, observer, up).await
}

/// Pushes an image that never becomes ready, waits until nothing more goes, and pushes one that does.
async fn mend(
    house: &House,
    observer: &mut Observer,
    up: impl Fn(&str, &Pods) -> bool,
) -> anyhow::Result<()> {
    let broken = house.build("3");
    house.break_images(&[broken.digest()]);
    house.push_image(TAG, &broken).await?;
    observer.begin();
    observer.page.say(&format!(
        "pushed {}, whose containers never become ready",
        short(broken.digest())
    ));
    observer.until_halted().await?;
    let lost = observer.pods.values().filter(|pod| !pod.ready).count();
    observer.page.say(&format!(
        "no more pods go: {lost} of {PODS} run the broken image, the others serve"
    ));
    observer.page.print("");

    let good = house.push(TAG, "4").await?;
    observer.begin();
    observer
        .page
        .say(&format!("pushed {}, which mends it", short(&good)));
    observer.until(|pods| up(&good, pods)).await
}

/// Sends the controller's log to standard error or into a file.
fn start_log(verbose: bool, path: &Path) -> anyhow::Result<()> {
    if verbose {
        log::start(log::Format::Text, "info");
        return Ok(());
    }
    let file =
        fs::File::create_new(path).with_context(|| format!("cannot write {}", path.display()))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter("info")
        .with_ansi(false);
    let started = lines.with_writer(Mutex::new(file)).try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
