//! A controller in a process of its own, as the benches watch it from outside.

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use tokio::time::sleep;

use crate::{
    counted::{self, Heap},
    population::Population,
};

/// The program as it is shipped: benches are built with the release profile.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_podrefresh");

/// Which build runs.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Program {
    /// The one that is shipped.
    Shipped,
    /// Ours, which counts its allocations.
    Counted,
}

/// A controller in a process of its own; killed when this is dropped.
pub(crate) struct Controller {
    /// Its process.
    pub(crate) process: Child,
    /// Where its webhook is.
    pub(crate) admission: SocketAddr,
    admin: SocketAddr,
    answers: BufReader<std::process::ChildStdout>,
    http: reqwest::Client,
    kubeconfig: PathBuf,
}

impl Controller {
    /// Starts one on the population's cluster and waits until it is ready.
    pub(crate) async fn start(population: &Population, program: Program, flags: &[&str]) -> Self {
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
            .args(flags);
        if !flags.iter().any(|flag| flag.starts_with("--poll-interval")) {
            // Each image is looked up once, and no more while we measure.
            command.arg("--poll-interval=1h");
        }
        let (mut process, [admission, admin]) = spawn(command, &kubeconfig);
        let controller = Self {
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
            admission,
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
    pub(crate) async fn full(population: &Population, program: Program) -> Self {
        population.registry.forget_requests();
        let controller = Self::start(population, program, &["--leader-elect=false"]).await;
        let current = r#"podrefresh_refresh_containers{verdict="current"}"#;
        while controller.metrics().await.get(current) != Some(&(2.0 * population.size.pods as f64))
        {
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
    pub(crate) async fn metrics(&self) -> HashMap<String, f64> {
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
    pub(crate) async fn ticks(&self) -> (f64, f64) {
        let metrics = self.metrics().await;
        let of = |name: &str| metrics[&format!("podrefresh_refresh_tick_duration_seconds_{name}")];
        (of("count"), of("sum"))
    }

    /// Asks one under count for its heap.
    pub(crate) fn heap(&mut self) -> Heap {
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

/// Starts the process, and returns the addresses of its webhook and its admin port, which it logs.
fn spawn(mut command: Command, kubeconfig: &Path) -> (Child, [SocketAddr; 2]) {
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
        if let Some((_, rest)) = line.split_once("Serving reviews on ") {
            let addresses = rest.split('"').next().unwrap();
            let (admission, admin) = addresses.split_once(" and the admin port on ").unwrap();
            return (
                process,
                [admission, admin].map(|address| address.parse().unwrap()),
            );
        }
        said += &line;
        said += "\n";
    }
    let status = process.wait().unwrap();
    panic!("the controller ended early ({status}): {said}");
}
