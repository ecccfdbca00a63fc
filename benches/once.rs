//! What one run over all pods costs: its time, its requests and its memory.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use testbed::{
    images::Format,
    registry::{Fault, Target},
};
use tokio::runtime::Runtime;

use crate::{
    lookups::LATENCY,
    population::{Population, Size, app},
    process::peak,
    report::{Figure, Report},
};

const PODS: usize = 5000;

/// Images that they run, all told.
const IMAGES: usize = 300;

/// What is looked at.
const SIZE: Size = Size {
    pods: PODS,
    per_owner: 10,
    images: IMAGES,
};

/// Images whose tags are moved before the second run.
const MOVED: usize = 30;

/// The program as it is shipped.
const PROGRAM: &str = env!("CARGO_BIN_EXE_podrefresh");

pub(crate) fn measure(report: &mut Report) {
    Runtime::new().unwrap().block_on(async {
        let population = Population::start(SIZE).await;
        population.install("manifests/components/cronjob").await;
        population.fill_unstamped(PODS, IMAGES).await;
        let _slow = (population.registry).inject(Fault::Latency(LATENCY), Target::all());
        let run = Run::dry(&population).await;
        assert_eq!(run.summary["checked"], PODS, "{}", run.summary);
        assert_eq!(run.summary["current"], PODS, "{}", run.summary);
        let what = format!(
            "a dry run over {PODS} current pods with {IMAGES} images, answers in {LATENCY:?}"
        );
        report.below(&what, Figure::time(run.took), Figure::Time(10.0));
        report.exactly("manifest requests of it", run.manifests, IMAGES);
        let lists = Figure::Count(run.lists as u64);
        report.below(
            "its LIST requests, namespaces included",
            lists,
            Figure::Count(8),
        );
        let memory = Figure::Memory(run.peak);
        report.below("its memory at the most", memory, Figure::Memory(60 << 20));

        for n in 1..=MOVED {
            let image = Format::Oci.multi_platform(&format!("moved-{n}"));
            population.registry.store(&app(n), "stable", &image);
        }
        let run = Run::dry(&population).await;
        let outdated = run.summary["outdated"].as_u64().unwrap();
        assert!(0 < outdated, "{}", run.summary);
        let what = format!("the same when {MOVED} tags have moved, of {outdated} pods");
        report.below(&what, Figure::time(run.took), Figure::Time(10.0));
        report.tell("its memory at the most", Figure::Memory(run.peak));
        population.cluster.assert_clean();
    });
}

/// A run that is over.
struct Run {
    took: Duration,
    peak: u64,
    manifests: usize,
    lists: usize,
    summary: Value,
}

impl Run {
    /// Makes a dry run over the population, to its table.
    async fn dry(population: &Population) -> Self {
        let name = format!("podrefresh-bench-{:016x}", fastrand::u64(..));
        let kubeconfig: PathBuf = env::temp_dir().join(name);
        let content = population
            .cluster
            .kubeconfig_for("podrefresh", "podrefresh-once");
        fs::write(&kubeconfig, content.unwrap()).unwrap();
        population.registry.forget_requests();
        population.cluster.journal().clear();
        let mut command = Command::new(PROGRAM);
        command
            .args(["once", "--dry-run", "--output=json"])
            .env("KUBECONFIG", &kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let watched = move || watched(command);
        let (took, peak, output) = tokio::task::spawn_blocking(watched).await.unwrap();
        fs::remove_file(kubeconfig).unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{complaint}");
        let summary = text.lines().last().unwrap_or_else(|| panic!("{complaint}"));
        Self {
            took,
            peak,
            manifests: population.registry.manifest_requests(),
            lists: (population.cluster.journal()).count(|call| call.verb == "list"),
            summary: serde_json::from_str(summary).unwrap(),
        }
    }
}

/// Runs a program to its end; returns how long it took and the most memory that it had.
fn watched(mut command: Command) -> (Duration, u64, Output) {
    let started = Instant::now();
    let process = command.spawn().unwrap();
    let pid = process.id();
    let watcher = thread::spawn(move || {
        let mut most = 0;
        // The kernel keeps the highest mark, so only what comes in the last moment is missed.
        while let Some(peak) = peak(pid) {
            most = peak;
            thread::sleep(Duration::from_millis(5));
        }
        most
    });
    let output = process.wait_with_output().unwrap();
    let took = started.elapsed();
    (took, watcher.join().unwrap(), output)
}
