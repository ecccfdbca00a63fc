//! The nodes that run pods, without running anything: images are resolved at real registries, all else is told.
//!
//! A pod gets a node from the scheduler, its images are pulled (resolved by HEAD with the pod's pull secrets, or taken from the
//! node's cache as the pull policy says), its status says what a kubelet on containerd says, and after its deletion it ends
//! within its grace period. Not modelled: probes, volumes, logs, resources, container exits, static pods.

mod node;
mod pod;
mod puller;
mod reference;
mod scheduler;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

pub use self::node::Node;
pub(crate) use self::scheduler::Scheduler;

use self::pod::Worker;
use self::puller::Puller;
use self::status::Facts;
use crate::api::{Api, ApiError, Change, ChangeKind, Subscription, User, object, resource};
use crate::registry::lock;

/// Where images of a host are pulled from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// `http://127.0.0.1:5000` or `https://…`.
    pub url: String,
    /// The authority to trust; empty for plain http.
    pub ca_pem: String,
    /// Whom the node itself pulls as, behind the pod's own secrets: user and password, as a provider plugin would say.
    pub user: Option<(String, String)>,
}

/// How nodes behave.
#[derive(Clone, Debug)]
pub struct Options {
    /// The nodes to start.
    pub nodes: Vec<Node>,
    /// From the binding of a pod to its pulls.
    pub start_delay: Duration,
    /// From the last container's start until the pod is ready.
    pub ready_delay: Duration,
    /// From a pod's deletion to its end, if its grace period allows.
    pub termination_delay: Duration,
    /// How long a pod that is not restarted (a Job's) runs until it has succeeded.
    pub job_duration: Duration,
    /// The first pause after a failed pull; it doubles up to thirty times as much.
    pub pull_backoff: Duration,
    /// Hosts of image references that are reached elsewhere or over TLS. Others on the loopback are plain http, the rest cannot
    /// be reached.
    pub hosts: BTreeMap<String, Host>,
}

impl Default for Options {
    /// Three linux/amd64 nodes in three zones, and no delays.
    fn default() -> Self {
        Self {
            nodes: (1..=3)
                .map(|n| Node::new(&format!("node-{n}"), &format!("zone-{n}")))
                .collect(),
            start_delay: Duration::ZERO,
            ready_delay: Duration::ZERO,
            termination_delay: Duration::ZERO,
            job_duration: Duration::ZERO,
            pull_backoff: Duration::from_millis(100),
            hosts: BTreeMap::new(),
        }
    }
}

/// What the workers of all pods share.
struct Shared {
    options: Options,
    puller: Puller,
    /// Pod uid to container name to the image that runs.
    running: Mutex<HashMap<String, HashMap<String, String>>>,
}

impl Shared {
    fn images_of(&self, uid: &str) -> HashMap<String, String> {
        lock(&self.running).get(uid).cloned().unwrap_or_default()
    }

    fn note_image(&self, uid: &str, container: &str, image: &str) {
        lock(&self.running)
            .entry(uid.into())
            .or_default()
            .insert(container.into(), image.into());
    }
}

/// The handles by which a worker is told things.
struct Line {
    pod: watch::Sender<Arc<Value>>,
    restarts: mpsc::UnboundedSender<String>,
    task: JoinHandle<()>,
}

type Lines = Arc<Mutex<HashMap<String, Line>>>;

/// The running nodes; they stop when dropped.
pub struct Kubelet {
    api: Api,
    shared: Arc<Shared>,
    lines: Lines,
    bad: watch::Sender<BTreeSet<String>>,
    task: JoinHandle<()>,
}

/// Registers the nodes and runs what is or will be bound to them. Pods get there by the scheduler, which runs with the
/// controllers.
///
/// # Errors
/// When a Node cannot be created.
pub async fn start(api: &Api, options: Options) -> Result<Kubelet, ApiError> {
    let mut addresses = HashMap::new();
    for (at, node) in options.nodes.iter().enumerate() {
        let address = format!("127.1.{}.{}", at / 254, at % 254 + 1);
        node.register(api, &address).await?;
        addresses.insert(node.name.clone(), address);
    }
    let shared = Arc::new(Shared {
        puller: Puller::new(options.hosts.clone()),
        options,
        running: Mutex::default(),
    });
    let bad = watch::Sender::new(BTreeSet::new());
    let lines = Lines::default();
    let dispatcher = Dispatcher {
        api: api.clone(),
        shared: Arc::clone(&shared),
        lines: Arc::clone(&lines),
        bad: bad.clone(),
        addresses,
        pods_started: AtomicU32::new(0),
    };
    let task = tokio::spawn(dispatcher.run(api.subscribe()));
    Ok(Kubelet {
        api: api.clone(),
        shared,
        lines,
        bad,
        task,
    })
}

impl Kubelet {
    /// Containers that run one of these digests are not ready, from now on and until the set is changed.
    pub fn set_bad_digests<S: Into<String>>(&self, digests: impl IntoIterator<Item = S>) {
        self.bad
            .send_replace(digests.into_iter().map(Into::into).collect());
    }

    /// Has images pulled from now on reported by their bare config digest (`sha256:…`), or by repository and digest again.
    pub fn report_bare_image_ids(&self, bare: bool) {
        lock(&self.shared.puller.quirks).bare = bare;
    }

    /// Has images that are pulled from now on and share their platform's config on a node reported by the lexically first of
    /// their digests, as containerd does; or by the digest that was pulled again.
    pub fn merge_image_ids(&self, merge: bool) {
        lock(&self.shared.puller.quirks).merged = merge;
    }

    /// Lets a tag reference stand for `digest` on all nodes, as behind a mirror that lags; `None` ends that. References with a
    /// digest are not affected.
    pub fn mirror(&self, image: &str, digest: Option<&str>) {
        let normal = reference::Reference::parse(image)
            .map_or_else(|| image.to_owned(), |image| image.normal());
        let mut quirks = lock(&self.shared.puller.quirks);
        match digest {
            Some(digest) => quirks.mirrored.insert(normal, digest.into()),
            None => quirks.mirrored.remove(&normal),
        };
    }

    /// Empties the image cache of a node.
    pub fn forget_images(&self, node: &str) {
        self.shared.puller.forget(node);
    }

    /// Restarts a container, as after a crash. Says whether there is such a pod on a node.
    pub fn restart(&self, namespace: &str, pod: &str, container: &str) -> bool {
        let Some(pod) = self.api.get(&resource::PODS, namespace, pod) else {
            return false;
        };
        let lines = lock(&self.lines);
        lines
            .get(object::uid(&pod))
            .is_some_and(|line| line.restarts.send(container.into()).is_ok())
    }
}

impl fmt::Debug for Kubelet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes = self.shared.options.nodes.iter().map(|node| &node.name);
        f.debug_struct("Kubelet")
            .field("nodes", &nodes.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.task.abort();
        for (_, line) in lock(&self.lines).drain() {
            line.task.abort();
        }
    }
}

/// Starts a worker for each pod on a node, and tells it of changes.
struct Dispatcher {
    api: Api,
    shared: Arc<Shared>,
    lines: Lines,
    bad: watch::Sender<BTreeSet<String>>,
    /// By node.
    addresses: HashMap<String, String>,
    pods_started: AtomicU32,
}

impl Dispatcher {
    async fn run(self, mut changes: Subscription) {
        for pod in self.api.list(&resource::PODS, None) {
            self.seen(&pod);
        }
        while let Some(Change {
            kind,
            resource,
            object: pod,
            ..
        }) = changes.next().await
        {
            if *resource != resource::PODS {
                continue;
            }
            if kind == ChangeKind::Deleted {
                lock(&self.lines).remove(object::uid(&pod));
                lock(&self.shared.running).remove(object::uid(&pod));
            } else {
                self.seen(&pod);
            }
        }
    }

    fn seen(&self, pod: &Arc<Value>) {
        let node = object::text(pod, "/spec/nodeName");
        let Some(node) = self
            .shared
            .options
            .nodes
            .iter()
            .find(|known| known.name == node)
        else {
            return;
        };
        let mut lines = lock(&self.lines);
        if let Some(line) = lines.get(object::uid(pod)) {
            line.pod.send_replace(Arc::clone(pod));
        } else {
            lines.insert(object::uid(pod).into(), self.take_on(node, pod));
        }
    }

    fn take_on(&self, node: &Node, pod: &Arc<Value>) -> Line {
        let (sender, seen) = watch::channel(Arc::clone(pod));
        let (restarts, restarted) = mpsc::unbounded_channel();
        let number = self.pods_started.fetch_add(1, Ordering::Relaxed) + 1;
        let gates = object::list(pod, "/spec/readinessGates").iter();
        let gates = gates
            .filter_map(|gate| gate["conditionType"].as_str())
            .map(str::to_owned)
            .collect();
        let user = User {
            name: format!("system:node:{}", node.name),
            groups: vec!["system:nodes".into(), "system:authenticated".into()],
            ..User::default()
        };
        let worker = Worker {
            shared: Arc::clone(&self.shared),
            api: self.api.acting_as(user),
            node: node.name.clone(),
            platform: node.platform(),
            facts: Facts {
                uid: object::uid(pod).into(),
                generation: object::generation(pod),
                host_ip: self.addresses.get(&node.name).cloned().unwrap_or_default(),
                // Nothing listens there; 127.1 is for the nodes.
                pod_ip: format!(
                    "127.{}.{}.{}",
                    2 + (number >> 16 & 0x7f),
                    number >> 8 & 0xff,
                    number & 0xff
                ),
                started_at: Timestamp::now(),
                gates,
            },
            pod: seen,
            restarts: restarted,
            bad: self.bad.subscribe(),
            containers: pod::containers(pod),
        };
        Line {
            pod: sender,
            restarts,
            task: tokio::spawn(worker.run()),
        }
    }
}
