//! The cluster in this process, and the controller in it.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use clap::Parser as _;
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ApiResource, DynamicObject, PostParams, TypeMeta},
    config::{KubeConfigOptions, Kubeconfig},
};
use podrefresh::{
    app::Controller,
    cli::{Cli, Command},
    cluster::{Choice, connect},
};
use serde_json::{Value, json};
use testbed::{
    Cluster, Life,
    images::{Format, Image},
    kubelet::{self, Host},
    registry::{self, Registry},
};
use tokio::{sync::oneshot, task::JoinHandle};

/// Where `manifests/` installs podrefresh, and what its Service and ServiceAccount are called.
const HOME: &str = "podrefresh";

/// Where `kubectl apply` keeps what it applied last.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The controller's flags. In a cluster minutes would do; nobody wants to watch a demo for minutes.
const FLAGS: [&str; 7] = [
    "--admission-addr=127.0.0.1:0",
    "--admin-addr=127.0.0.1:0",
    "--poll-interval=500ms",
    "--confirm-after=500ms",
    "--lookup-timeout=5s",
    "--lease-duration=3s",
    "--progress-deadline=3s",
];

/// How long a container takes to start, to become ready and to end.
const PACE: [Duration; 3] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_millis(200),
];

/// A cluster with a registry. Everything ends with it.
pub(crate) struct House {
    /// The API server.
    pub(crate) cluster: Cluster,
    /// The administrator's client.
    pub(crate) client: Client,
    registry: Registry,
    life: Life,
    folder: PathBuf,
}

/// The controller, running.
pub(crate) struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl House {
    /// Starts the cluster: an API server, controllers, three nodes, a registry. Its files go into `folder`.
    pub(crate) async fn start(folder: &Path) -> anyhow::Result<Self> {
        let failed = |part| move |error| anyhow::anyhow!("cannot start {part}: {error}");
        let registry = Registry::anonymous()
            .await
            .context("cannot start the registry")?;
        let cluster = Cluster::start().await.map_err(failed("the API server"))?;
        // So that `kubectl apply -k manifests` comes to its end here, too: its pods run, and the controller in this
        // process does their work.
        let ours = Format::Oci.multi_platform("podrefresh");
        registry.store("podrefresh/podrefresh", env!("CARGO_PKG_VERSION"), &ours);
        let public = Host {
            url: registry.url().to_owned(),
            ca_pem: String::new(),
            user: None,
        };
        let [start_delay, ready_delay, termination_delay] = PACE;
        let nodes = kubelet::Options {
            start_delay,
            ready_delay,
            termination_delay,
            hosts: [("ghcr.io".to_owned(), public)].into(),
            ..kubelet::Options::default()
        };
        let life = Life::start(cluster.api(), nodes)
            .await
            .context("cannot start the nodes")?;
        let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig())?;
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options);
        let client = Client::try_from(config.await?)?;
        let house = Self {
            cluster,
            client,
            registry,
            life,
            folder: folder.to_owned(),
        };
        house.write("kubeconfig", &house.cluster.kubeconfig())?;
        Ok(house)
    }

    /// Returns the path of the administrator's kubeconfig.
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.join("kubeconfig")
    }

    /// Returns what `tag` of the demo's image is called in a pod.
    pub(crate) fn image(&self, tag: &str) -> String {
        self.registry.reference("shop/app", tag)
    }

    /// Returns an image made from `seed`.
    pub(crate) fn build(&self, seed: &str) -> Image {
        Format::Oci.multi_platform(seed)
    }

    /// Pushes an image made from `seed` under `tag`, and returns its digest.
    pub(crate) async fn push(&self, tag: &str, seed: &str) -> anyhow::Result<String> {
        let image = self.build(seed);
        self.push_image(tag, &image).await?;
        Ok(image.digest().to_owned())
    }

    /// Pushes an image under `tag`, over the wire.
    pub(crate) async fn push_image(&self, tag: &str, image: &Image) -> anyhow::Result<()> {
        let pusher = registry::Client::new("", None);
        let pushed = pusher.push(self.registry.url(), "shop/app", tag, image);
        let pushed = pushed.await;
        pushed
            .map(drop)
            .with_context(|| format!("cannot push {}", self.image(tag)))
    }

    /// Has the nodes find that containers of these images never become ready.
    pub(crate) fn break_images(&self, digests: &[&str]) {
        self.life.kubelet.set_bad_digests(digests.iter().copied());
    }

    /// Returns the digest that `tag` of the demo's image means now, or nothing.
    pub(crate) fn digest(&self, tag: &str) -> String {
        self.registry.digest("shop/app", tag).unwrap_or_default()
    }

    /// Returns the objects of `shop.yaml` with `image` in their pods.
    pub(crate) fn shop(&self, image: &str) -> anyhow::Result<Vec<Value>> {
        let text = include_str!("shop.yaml").replace("image: IMAGE", &format!("image: {image}"));
        testbed::manifests::parse(&text).context("shop.yaml must be YAML")
    }

    /// Creates an object, as `kubectl create` does.
    pub(crate) async fn create(&self, object: &Value) -> anyhow::Result<()> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let TypeMeta { kind, .. } = object.types.clone().context("an object must have a kind")?;
        let what = format!("{kind} {}", object.name_any());
        let types = object
            .types
            .as_ref()
            .context("an object must have a kind")?;
        let resource = ApiResource::from_gvk(&types.try_into()?);
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let created = api.create(&PostParams::default(), &object).await;
        created
            .map(drop)
            .with_context(|| format!("cannot create the {what}"))
    }

    /// Installs `manifests/` but for the Deployment, as the controller runs in this process; returns how
    /// many objects that were.
    pub(crate) async fn install(&self) -> anyhow::Result<usize> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests");
        let mut objects = testbed::manifests::load(&folder)?;
        objects.retain(|object| object["kind"] != "Deployment");
        for object in &mut objects {
            // As `kubectl create --save-config`, so that a later `kubectl apply` knows what it finds.
            let applied = object.to_string();
            object["metadata"]["annotations"] = json!({APPLIED: applied});
            self.create(object).await?;
        }
        Ok(objects.len())
    }

    /// Starts the controller as its ServiceAccount, leads its Service to it, and waits until it is ready.
    pub(crate) async fn run_controller(&self) -> anyhow::Result<Running> {
        let kubeconfig = self.cluster.kubeconfig_for(HOME, "podrefresh");
        let kubeconfig = kubeconfig.context("manifests/ must bring the ServiceAccount")?;
        let kubeconfig = self.write("controller.kubeconfig", &kubeconfig)?;
        let flags = ["podrefresh", "controller"].into_iter().chain(FLAGS);
        let Command::Controller(flags) = Cli::try_parse_from(flags)?.command else {
            bail!("`podrefresh controller` must be the controller");
        };
        let choice = Choice {
            kubeconfig: Some(kubeconfig),
            context: None,
        };
        let connection = connect(&choice).await?;
        let mut settings = flags.settings(&connection.namespace, "demo".to_owned());
        // Nobody else has to learn that it stops.
        settings.linger = Duration::ZERO;
        let controller = Controller::bind(settings, connection).await?;
        let admin = controller.admin_addr()?;
        self.cluster
            .route_service(HOME, "podrefresh", 443, &[controller.admission_addr()?]);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(controller.run(async {
            let _ = stopped.await;
        }));
        let mut running = Running { stop, task };
        tokio::select! {
            error = running.ended() => return Err(error),
            ready = ready(admin) => ready?,
        }
        Ok(running)
    }

    /// Writes a file that only its owner can read, and returns its path.
    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        let file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path);
        file.and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl Running {
    /// Waits until the controller ends though nobody asked it to, and returns why.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        match (&mut self.task).await {
            Ok(Ok(())) => anyhow::anyhow!("the controller ended"),
            Ok(Err(error)) => error.context("the controller failed"),
            Err(error) => anyhow::Error::new(error).context("the controller panicked"),
        }
    }

    /// Stops the controller as SIGTERM does.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        // Without a receiver it has ended already, which its result tells.
        let _ = self.stop.send(());
        self.task
            .await
            .context("the controller panicked")?
            .context("the controller failed")
    }
}

/// Waits until the controller says that it is ready.
async fn ready(admin: SocketAddr) -> anyhow::Result<()> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .context("cannot make an HTTP client")?;
    loop {
        let answer = http.get(format!("http://{admin}/readyz")).send().await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Makes the folder for the demo's files, which only its owner can enter.
pub(crate) fn folder() -> anyhow::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("podrefresh-demo-{}", std::process::id()));
    let made = fs::DirBuilder::new().mode(0o700).create(&path);
    made.with_context(|| format!("cannot make the folder {}", path.display()))?;
    Ok(path)
}
