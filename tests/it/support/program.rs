//! The program itself, run as its users run it: arguments and environment in, exit code and two texts out.

use std::{
    borrow::Cow,
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use super::{folder::Folder, kube::eventually};

/// How long a run may take before it counts as hung. Debug builds on a busy machine are slow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run that is to come. It sees no environment but what it is given, and an empty home.
pub(crate) struct Program {
    command: Command,
    folder: Folder,
}

/// A run that is over.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code; `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it printed.
    pub(crate) stdout: String,
    /// What it logged and complained about.
    pub(crate) stderr: String,
}

/// A run under way; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    folder: Folder,
}

/// Where a controller serves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Serving {
    /// Its webhook.
    pub(crate) admission: SocketAddr,
    /// Its admin port.
    pub(crate) admin: SocketAddr,
}

impl Program {
    /// Returns `podrefresh <arguments>`.
    pub(crate) fn new<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podrefresh"));
        command.args(arguments);
        let mut program = Self::of(command);
        let home = program.folder.path().join("home");
        fs::create_dir(&home).unwrap();
        program.command.env("HOME", home);
        program
    }

    /// Returns what `command` runs, in an environment without variables.
    pub(crate) fn of(mut command: Command) -> Self {
        command.env_clear().stdin(Stdio::null()).kill_on_drop(true);
        Self {
            command,
            folder: Folder::new(),
        }
    }

    /// Sets a variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Gives it this kubeconfig.
    pub(crate) fn kubeconfig(self, content: &str) -> Self {
        let file = self.folder.write("kubeconfig", content);
        self.env("KUBECONFIG", file)
    }

    /// Gives it this docker config.
    pub(crate) fn docker_config(self, content: &Value) -> Self {
        let file = self.folder.write("config.json", &content.to_string());
        self.env("PODREFRESH_DOCKER_CONFIG", file)
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> Process {
        // Into files, so that nobody has to read while it runs.
        let file = |name| fs::File::create(self.folder.path().join(name)).unwrap();
        let child = self
            .command
            .stdout(file("stdout"))
            .stderr(file("stderr"))
            .spawn()
            .unwrap();
        Process {
            child,
            folder: self.folder,
        }
    }

    /// Runs it to its end.
    pub(crate) async fn run(self) -> Outcome {
        self.start().ended().await
    }
}

impl Process {
    /// Waits until its standard error holds `text`, and returns all of it.
    pub(crate) async fn says(&self, text: &str) -> String {
        eventually(&format!("the program to say {text:?}"), || async {
            let said = self.read("stderr");
            said.contains(text).then_some(said)
        })
        .await
    }

    /// Returns the lines that it has logged, as JSON.
    pub(crate) fn log(&self) -> Vec<Value> {
        json_lines(&self.read("stderr"))
    }

    /// Returns where the controller serves, once its log says so.
    pub(crate) async fn serving(&self) -> Serving {
        let said = self.says("Serving reviews on ").await;
        let (_, rest) = said.split_once("Serving reviews on ").unwrap();
        let (admission, rest) = rest.split_once(" and the admin port on ").unwrap();
        let admin = rest.split('"').next().unwrap();
        Serving {
            admission: admission.parse().unwrap(),
            admin: admin.parse().unwrap(),
        }
    }

    /// Sends it `signal`, such as `TERM`.
    pub(crate) async fn signal(&self, signal: &str) {
        let id = self
            .child
            .id()
            .expect("the program must be running")
            .to_string();
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &id])
            .status()
            .await;
        assert!(sent.unwrap().success());
    }

    /// Returns how many files it has open, connections included.
    pub(crate) fn files(&self) -> usize {
        let id = self.child.id().expect("the program must be running");
        fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
    }

    /// Returns how much memory it holds, in KiB: all that is resident, and what of it is no file's.
    pub(crate) fn memory(&self) -> (u64, u64) {
        let id = self.child.id().expect("the program must be running");
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let number = line.and_then(|line| line.split_whitespace().next());
            number.and_then(|it| it.parse().ok()).unwrap_or_default()
        };
        (field("VmRSS:"), field("RssAnon:"))
    }

    /// Waits for its end.
    pub(crate) async fn ended(mut self) -> Outcome {
        let status: Option<ExitStatus> = timeout(PATIENCE, self.child.wait())
            .await
            .ok()
            .map(Result::unwrap);
        let (stdout, stderr) = (self.read("stdout"), self.read("stderr"));
        let Some(status) = status else {
            panic!("no end within {PATIENCE:?}\n{stdout}\n{stderr}");
        };
        Outcome {
            code: status.code(),
            stdout,
            stderr,
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        let folder: &Path = self.folder.path();
        folder.join(name)
    }
}

impl Outcome {
    /// Returns the last line of standard error: why it failed. One of JSON is put as if it were text.
    pub(crate) fn complaint(&self) -> Cow<'_, str> {
        let last = self.stderr.lines().last().unwrap_or_default();
        match failure(last) {
            Some(error) => format!("error: {error}").into(),
            None => last.into(),
        }
    }

    /// Returns the lines that it logged before, as JSON.
    pub(crate) fn log(&self) -> Vec<Value> {
        let lines: Vec<&str> = self
            .stderr
            .lines()
            .filter(|line| !line.starts_with("error: ") && failure(line).is_none())
            .collect();
        json_lines(&(lines.join("\n") + "\n"))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "exit code {code:?}\n--- stdout\n{stdout}--- stderr\n{stderr}"
        )
    }
}

/// Returns why the program failed, if `line` is the one that says so in JSON.
fn failure(line: &str) -> Option<String> {
    let line: Value = serde_json::from_str(line).ok()?;
    let message = line["message"].as_str()?;
    let error = line["error"].as_str()?;
    (line["level"] == "ERROR" && message == format!("Failed: {error}")).then(|| error.to_owned())
}

fn json_lines(text: &str) -> Vec<Value> {
    let parse =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
    // The last line may not be whole yet.
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(parse).collect()
}
