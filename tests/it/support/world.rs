//! A cluster with podrefresh installed from `manifests/`, a registry, and the real controller against both.
//!
//! The cluster is the testbed; with `PODREFRESH_TEST_KUBECONFIG` it is the one that file leads to: a real
//! control plane on loopback, whose Service addresses lie in 127.0.0.0/8 and whose nodes pull from
//! registries on loopback. Worlds there come one after the other.

use std::{env, net::SocketAddr, sync::Arc, time::Duration};

use clap::Parser as _;
use kube::{
    Client, Config,
    config::{KubeConfigOptions, Kubeconfig},
};
use podrefresh::{
    app::Controller,
    cli::{Cli, Command},
    cluster::{Choice, connect},
};
use testbed::{
    images::{Format, Image},
    kubelet::{self, Host},
    registry::{self, Auth, Registry},
};
use tokio::{
    sync::{Mutex, OwnedMutexGuard, oneshot},
    task::JoinHandle,
};

use front::Front;

use super::{
    files::{Temporary, tempfile},
    kube::Kube,
    simulated::{Setup, Simulated},
};

mod front;
mod service;

/// Where podrefresh is installed.
pub(crate) const HOME: &str = "podrefresh";

/// How often a test's controller looks.
pub(crate) const POLL: Duration = Duration::from_millis(300);

/// Flags that make a controller as quick as a test wants it; the first is [`POLL`].
const QUICK: [&str; 4] = [
    "--poll-interval=300ms",
    "--confirm-after=100ms",
    "--lookup-timeout=5s",
    "--lease-duration=3s",
];

/// How long a controller takes new connections though it is to stop, where it takes others a moment to hear of that.
const LINGER: Duration = Duration::from_millis(500);

/// The cluster of a test, and all that belongs to it.
pub(crate) struct World {
    /// The administrator's client.
    pub(crate) kube: Kube,
    /// The registry that images are pushed to and pulled from.
    pub(crate) registry: Registry,
    /// The testbed, unless the cluster is a real one.
    pub(crate) simulated: Option<Simulated>,
    kubeconfig: String,
    controllers: Vec<Running>,
    /// What the Service's address leads to on a real cluster, once there is a controller.
    front: Option<Front>,
    /// Held while this is the world on the real cluster.
    _turn: Option<OwnedMutexGuard<()>>,
}

/// A controller that runs in this process.
pub(crate) struct Running {
    /// Its admin port.
    pub(crate) admin: SocketAddr,
    /// Its webhook.
    pub(crate) admission: SocketAddr,
    /// Where registries tell it of pushes, if they may.
    pub(crate) notify: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl World {
    /// Starts a cluster with podrefresh installed but not running.
    pub(crate) async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    /// Starts a cluster of some other kind, with podrefresh installed but not running.
    pub(crate) async fn with(setup: Setup) -> Self {
        let world = match real() {
            Some(kubeconfig) => Self::on_real(kubeconfig, setup.auth).await,
            None => Self::on_testbed(registry(setup.auth, None).await, setup.nodes).await,
        };
        world.apply("manifests").await;
        world
    }

    /// Starts a cluster without podrefresh; on the testbed's nodes the image that `manifests/` names can run.
    pub(crate) async fn untouched() -> Self {
        if let Some(kubeconfig) = real() {
            let world = Self::on_real(kubeconfig, Auth::Anonymous).await;
            world.uninstall().await;
            return world;
        }
        let registry = registry(Auth::Anonymous, None).await;
        let host = Host {
            user: None,
            url: registry.url().to_owned(),
            ca_pem: String::new(),
        };
        let nodes = kubelet::Options {
            hosts: [("ghcr.io".to_owned(), host)].into(),
            ..kubelet::Options::default()
        };
        let world = Self::on_testbed(registry, nodes).await;
        world.push("podrefresh/podrefresh", env!("CARGO_PKG_VERSION"), "ours");
        world
    }

    /// Takes a turn on the real cluster.
    async fn on_real(kubeconfig: String, auth: Auth) -> Self {
        // Its nodes need not know how to pull with a pull secret; podrefresh must.
        let registry = registry(auth, Some("podrefresh/")).await;
        let world = Self::new(registry, kubeconfig, None, Some(turn().await)).await;
        world.clear().await;
        world
    }

    async fn on_testbed(registry: Registry, nodes: kubelet::Options) -> Self {
        let simulated = Simulated::start(nodes).await;
        let kubeconfig = simulated.cluster.kubeconfig();
        Self::new(registry, kubeconfig, Some(simulated), None).await
    }

    async fn new(
        registry: Registry,
        kubeconfig: String,
        simulated: Option<Simulated>,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self {
            kube: Kube(client(&kubeconfig).await),
            registry,
            simulated,
            kubeconfig,
            controllers: Vec::new(),
            front: None,
            _turn: turn,
        }
    }

    /// Starts a cluster with podrefresh installed, running and ready.
    pub(crate) async fn running(flags: &[&str]) -> Self {
        let mut world = Self::start().await;
        world.controller(flags).await;
        world
    }

    /// Starts a controller as its ServiceAccount with `flags` on top of quick ones, waits until it is
    /// ready, and lets the API server reach its webhook.
    pub(crate) async fn controller(&mut self, flags: &[&str]) -> &Running {
        self.unready(flags).await;
        let running = self.controllers.last().unwrap();
        running.readiness(200).await;
        running
    }

    /// Starts a controller like [`World::controller`], and does not wait for anything.
    pub(crate) async fn unready(&mut self, flags: &[&str]) {
        self.open().await;
        // A connection may be on its way through the front to one that has just been taken out.
        let linger = self.front.as_ref().map_or(Duration::ZERO, |_| LINGER);
        let running = self.launch(flags, linger).await;
        self.controllers.push(running);
        self.route();
    }

    /// Returns the controllers started so far.
    pub(crate) fn controllers(&self) -> &[Running] {
        &self.controllers
    }

    /// Stops the controller that was started first, as SIGTERM does, and waits for its end.
    pub(crate) async fn stop_first(&mut self) {
        let mut running = self.controllers.remove(0);
        self.route();
        let _ = running.stop.take().unwrap().send(());
        (&mut running.task).await.unwrap().unwrap();
    }

    /// Waits until the controller that was started first has failed by itself, and returns why.
    pub(crate) async fn first_failed(&mut self) -> String {
        let mut running = self.controllers.remove(0);
        let ended = (&mut running.task).await.unwrap();
        format!("{:#}", ended.unwrap_err())
    }

    /// Ends the controller that was started first at once, as SIGKILL does.
    pub(crate) fn kill_first(&mut self) {
        drop(self.controllers.remove(0));
        self.route();
    }

    /// Pushes an image under `repository:tag`, unlike all of other seeds, and returns its reference and digest.
    pub(crate) fn push(&self, repository: &str, tag: &str, seed: &str) -> (String, String) {
        self.push_image(repository, tag, &Format::Oci.image("linux/amd64", seed))
    }

    /// Pushes a finished image under `repository:tag`.
    pub(crate) fn push_image(
        &self,
        repository: &str,
        tag: &str,
        image: &Image,
    ) -> (String, String) {
        let digest = self.registry.store(repository, tag, image);
        (self.registry.reference(repository, tag), digest)
    }

    /// Returns the administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> Temporary {
        tempfile(&self.kubeconfig)
    }

    /// Returns the same as a text.
    pub(crate) fn kubeconfig_text(&self) -> &str {
        &self.kubeconfig
    }

    async fn launch(&self, flags: &[&str], linger: Duration) -> Running {
        let file = tempfile(&self.account_kubeconfig("podrefresh").await);
        let ports = ["--admin-addr=127.0.0.1:0", "--admission-addr=127.0.0.1:0"];
        let flags: Vec<&str> = (["podrefresh", "controller"].into_iter())
            .chain(ports)
            .chain(
                QUICK
                    .into_iter()
                    .filter(|quick| !flags.iter().any(|flag| is_same(flag, quick))),
            )
            .chain(flags.iter().copied())
            .collect();
        let Command::Controller(flags) = Cli::try_parse_from(flags).unwrap().command else {
            unreachable!("the subcommand must be the controller")
        };
        let choice = Choice {
            kubeconfig: Some(file.path().to_owned()),
            context: None,
        };
        let connection = connect(&choice).await.unwrap();
        let host = format!("test-{}", self.controllers.len());
        let mut settings = flags.settings(&connection.namespace, host);
        settings.linger = linger;
        let controller = Controller::bind(settings, connection).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        Running {
            admin: controller.admin_addr().unwrap(),
            admission: controller.admission_addr().unwrap(),
            notify: controller.notify_addr().unwrap(),
            stop: Some(stop),
            task: tokio::spawn(controller.run(async {
                let _ = stopped.await;
            })),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns the kubeconfig of the real cluster, where tests run on one.
fn real() -> Option<String> {
    let file = env::var_os("PODREFRESH_TEST_KUBECONFIG")?;
    Some(std::fs::read_to_string(file).unwrap())
}

async fn registry(auth: Auth, asked_agents: Option<&'static str>) -> Registry {
    let options = registry::Options {
        auth,
        asked_agents,
        ..registry::Options::default()
    };
    Registry::start(options).await.unwrap()
}

/// Returns a client by a kubeconfig's text.
pub(crate) async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

/// Asks an admin port, and returns the answer's status and text.
pub(crate) async fn get(admin: SocketAddr, path: &str) -> (u16, String) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    match http.get(format!("http://{admin}{path}")).send().await {
        Ok(answer) => (
            answer.status().as_u16(),
            answer.text().await.unwrap_or_default(),
        ),
        Err(_) => (0, String::new()),
    }
}

/// Says whether two flags, `--name=value`, have one name.
fn is_same(flag: &str, other: &str) -> bool {
    flag.split('=').next() == other.split('=').next()
}

async fn turn() -> OwnedMutexGuard<()> {
    static TURN: std::sync::LazyLock<Arc<Mutex<()>>> = std::sync::LazyLock::new(Arc::default);
    TURN.clone().lock_owned().await
}
