//! What the controller costs: at rest, with many pods in its cache, and each time it looks at all of them.

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use testbed::api::{object, resource};
use tokio::{runtime::Runtime, time::sleep};

use crate::{
    counted::{self, Heap},
    population::{IMAGES, PODS, Population},
    process::{cpu, resident},
    report::{Figure, Report},
};

/// The program as it is shipped: benches are built with the release profile.
const PROGRAM: &str = env!("CARGO_BIN_EXE_podrefresh");

/// Looks at all pods that are measured.
const TICKS: u32 = 20;

pub(crate) fn measure(report: &mut Report) {
    let size = fs::metadata(PROGRAM).unwrap().len();
    report.below(
        "size of the binary",
        Figure::Size(size),
        Figure::Size(15_000_000),
    );
    Runtime::new().unwrap().block_on(async {
        let population = Population::start().await;
        let idle = Controller::start(&population, Program::Shipped, &[]).await;
        sleep(Duration::from_secs(5)).await;
        let rss = Figure::Memory(resident(idle.process.id()));
        report.below(
            "resident memory, idle in an empty cluster",
            rss,
            Figure::Memory(20 << 20),
        );
        drop(idle);
        let mut idle =
            Controller::start(&population, Program::Counted, &["--leader-elect=false"]).await;
        sleep(Duration::from_secs(1)).await;
        let empty = idle.heap();
        drop(idle);
        population.fill().await;
        shipped(report, &population).await;
        counted(report, &population, empty).await;
        population.cluster.assert_clean();
    });
}

/// The time of a tick.
async fn shipped(report: &mut Report, population: &Population) {
    let started = Instant::now();
    let controller = Controller::full(population, Program::Shipped).await;
    report.tell(
        &format!("from the start until {PODS} pods are judged"),
        Figure::time(started.elapsed()),
    );
    report.exactly(
        "manifest requests for their images",
        population.registry.manifest_requests(),
        IMAGES,
    );
    report.tell(
        "resident memory then",
        Figure::Memory(resident(controller.process.id())),
    );
    let before = controller.ticks().await;
    for n in 0..TICKS {
        let ticks = controller.ticks().await.0;
        provoke(population, n).await;
        while controller.ticks().await.0 == ticks {
            sleep(Duration::from_millis(20)).await;
        }
    }
    let after = controller.ticks().await;
    let mean = (after.1 - before.1) / (after.0 - before.0);
    report.below(
        "a tick without a change, mean",
        Figure::Time(mean),
        Figure::Time(0.05),
    );
    report.exactly(
        "manifest requests during the ticks",
        population.registry.manifest_requests(),
        IMAGES,
    );
}

/// The memory of the cache, and what a tick allocates.
async fn counted(report: &mut Report, population: &Population, empty: Heap) {
    let mut controller = Controller::full(population, Program::Counted).await;
    let (before, full) = (controller.ticks().await, controller.heap());
    let busy = cpu(controller.process.id());
    for n in 0..TICKS {
        provoke(population, n).await;
        // More than the controller waits for further changes; asking for its metrics would count as well.
        sleep(Duration::from_millis(300)).await;
    }
    let busy = cpu(controller.process.id()) - busy;
    let (heap, after) = (controller.heap(), controller.ticks().await);
    let ticks = (after.0 - before.0) as usize;
    report.tell(
        "CPU of a tick, with the event that led to it",
        Figure::time(busy / ticks as u32),
    );
    let allocations = (heap.allocations - full.allocations) / ticks;
    report.below(
        "allocations of it",
        Figure::Count(allocations as u64),
        Figure::Count(PODS as u64 / 100),
    );
    let per_pod = (full.live - empty.live) / PODS;
    report.below(
        "heap for each pod, of two containers, all told",
        Figure::Memory(per_pod as u64),
        Figure::Memory(1024),
    );
}

/// Changes something that the controller must look at all pods for, and that changes no pod's lot.
async fn provoke(population: &Population, n: u32) {
    let wish =
        |namespace: &mut _| object::annotate(namespace, "podrefresh.io/min-age", &format!("{n}s"));
    let api = population.cluster.api();
    api.update(&resource::NAMESPACES, "", "default", wish)
        .await
        .unwrap();
}

/// Which build runs.
#[derive(Clone, Copy, PartialEq)]
enum Program {
    Shipped,
    Counted,
}

/// A controller in a process of its own; killed when this is dropped.
struct Controller {
    process: Child,
    admin: SocketAddr,
    answers: BufReader<std::process::ChildStdout>,
    http: reqwest::Client,
    kubeconfig: PathBuf,
}

impl Controller {
    /// Starts one on the population's cluster and waits until it is ready.
    async fn start(population: &Population, program: Program, flags: &[&str]) -> Self {
        let kubeconfig =
            env::temp_dir().join(format!("podrefresh-bench-{:016x}", fastrand::u64(..)));
        fs::write(&kubeconfig, population.kubeconfig()).unwrap();
        let mut command = match program {
            Program::Shipped => Command::new(PROGRAM),
            Program::Counted => {
                let mut command = Command::new(env::current_exe().unwrap());
                command.arg(counted::NAME);
                command
            }
        };
        command
            .args([
                "controller",
                "--admin-addr=127.0.0.1:0",
                "--admission-addr=127.0.0.1:0",
            ])
            // Each image is looked up once, and no more while we measure.
            .arg("--poll-interval=1h")
            .args(flags);
        let (mut process, admin) = spawn(command, &kubeconfig);
        let controller = Self {
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
            admin,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            kubeconfig,
        };
        while !controller.get("/readyz").await.0 {
            sleep(Duration::from_millis(20)).await;
        }
        controller
    }

    /// Starts one and waits until it has judged the whole population.
    async fn full(population: &Population, program: Program) -> Self {
        population.registry.forget_requests();
        let controller = Self::start(population, program, &["--leader-elect=false"]).await;
        let current = r#"podrefresh_refresh_containers{verdict="current"}"#;
        while controller.metrics().await.get(current) != Some(&(2.0 * PODS as f64)) {
            sleep(Duration::from_millis(20)).await;
        }
        controller
    }

    async fn get(&self, path: &str) -> (bool, String) {
        let answer = self
            .http
            .get(format!("http://{}{path}", self.admin))
            .send()
            .await
            .unwrap();
        (answer.status().is_success(), answer.text().await.unwrap())
    }

    /// Returns the metrics' values by their names with labels.
    async fn metrics(&self) -> HashMap<String, f64> {
        let (_, page) = self.get("/metrics").await;
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| {
                let (name, value) = line.rsplit_once(' ')?;
                Some((name.to_owned(), value.parse().ok()?))
            })
            .collect()
    }

    /// Returns how many ticks there were, and how many seconds they took together.
    async fn ticks(&self) -> (f64, f64) {
        let metrics = self.metrics().await;
        let of = |name: &str| metrics[&format!("podrefresh_refresh_tick_duration_seconds_{name}")];
        (of("count"), of("sum"))
    }

    /// Asks one under count for its heap.
    fn heap(&mut self) -> Heap {
        writeln!(self.process.stdin.as_mut().unwrap()).unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        Heap::parse(&line)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        let _ = fs::remove_file(&self.kubeconfig);
    }
}

/// Starts the process, and returns the address of its admin port, which it logs.
fn spawn(mut command: Command, kubeconfig: &Path) -> (Child, SocketAddr) {
    command.env("KUBECONFIG", kubeconfig);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let log = BufReader::new(process.stderr.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in log.lines().map_while(Result::ok) {
            // What it says later is read, so that it never waits for us; nobody takes it then.
            let _ = sender.send(line);
        }
    });
    let mut said = String::new();
    while let Ok(line) = receiver.recv() {
        if let Some((_, rest)) = line.split_once("the admin port on ") {
            let address = rest.split('"').next().unwrap();
            return (process, address.parse().unwrap());
        }
        said += &line;
        said += "\n";
    }
    let status = process.wait().unwrap();
    panic!("the controller ended early ({status}): {said}");
}
