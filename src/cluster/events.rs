//! Tells people what was done and why not: Events on pods, their owners and namespaces.

use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hyper::Method;
use jiff::Timestamp;
use prometheus_client::metrics::{counter::Counter, family::Family};
use serde_json::{Value, json};
use tokio::{
    sync::mpsc::{self, error::TrySendError},
    time::sleep,
};
use tracing::{debug, warn};

use super::{
    call::{Media, Segment, Server},
    record::micros,
    refusal::{CallError, cut},
    workload::{Workload, WorkloadKind},
};
use crate::{
    error::Chain,
    observe::metrics::Reason,
    policy::{Owner, OwnerKind, Pod},
};

mod memory;

use memory::Told;

// A burst of a big tick; what comes on top is lost, and counted.
const QUEUE: usize = 1024;
const TIME_LIMIT: Duration = Duration::from_secs(5);
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(2)];
// Limits of events.k8s.io/v1, in bytes.
/// The most bytes of an Event's note: what is longer is cut.
pub const NOTE_LIMIT: usize = 1024;
const INSTANCE_LIMIT: usize = 128;
const NAME_LIMIT: usize = 253;
/// Who tells our Events: their `reportingController`.
pub(super) const CONTROLLER: &str = "podrefresh.io/controller";

/// Why an Event is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventReason {
    /// A pod does not run what its tag means now.
    Outdated,
    /// A pod was evicted.
    Evicted,
    /// An owner's template was changed, so that its controller replaces its pods.
    Restarted,
    /// A budget or a fault keeps an outdated pod.
    EvictionBlocked,
    /// All pods of an owner run what their tags mean.
    Refreshed,
    /// A replacement does not become ready, so no more pods go.
    RefreshHalted,
    /// A replacement came back as outdated as before.
    RefreshIneffective,
    /// The node's cache is behind the tag.
    StaleCache,
    /// The registry does not say what a tag means.
    Unresolved,
    /// An annotation makes no sense.
    BadWishes,
}

impl EventReason {
    /// All of them, in the order in which the docs list them.
    pub const ALL: [Self; 10] = [
        Self::Outdated,
        Self::Evicted,
        Self::Restarted,
        Self::EvictionBlocked,
        Self::Refreshed,
        Self::RefreshHalted,
        Self::RefreshIneffective,
        Self::StaleCache,
        Self::Unresolved,
        Self::BadWishes,
    ];

    /// Returns the reason that has this label.
    pub fn labelled(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.label() == label)
    }

    /// Returns the stable, documented name of the reason.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Outdated => "Outdated",
            Self::Evicted => "Evicted",
            Self::Restarted => "Restarted",
            Self::EvictionBlocked => "EvictionBlocked",
            Self::Refreshed => "Refreshed",
            Self::RefreshHalted => "RefreshHalted",
            Self::RefreshIneffective => "RefreshIneffective",
            Self::StaleCache => "StaleCache",
            Self::Unresolved => "Unresolved",
            Self::BadWishes => "BadWishes",
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Outdated | Self::Evicted | Self::Restarted | Self::Refreshed => "Normal",
            _ => "Warning",
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Evicted | Self::EvictionBlocked => "Evict",
            Self::Restarted => "Restart",
            Self::BadWishes => "Read",
            Self::Unresolved => "Resolve",
            _ => "Refresh",
        }
    }
}

/// An object that an Event is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    api_version: &'static str,
    kind: &'static str,
    namespace: Option<String>,
    name: String,
    uid: String,
}

impl About {
    /// A pod.
    pub fn pod(pod: &Pod) -> Self {
        Self {
            api_version: "v1",
            kind: "Pod",
            namespace: Some(pod.namespace.to_string()),
            name: pod.name.to_string(),
            uid: pod.uid.to_string(),
        }
    }

    /// A controller as it was read.
    pub fn workload(workload: &Workload) -> Self {
        Self {
            api_version: workload.kind.api_version(),
            kind: workload.kind.label(),
            namespace: Some(workload.namespace.clone()),
            name: workload.name.clone(),
            uid: workload.uid.clone(),
        }
    }

    /// A Deployment.
    pub(super) fn deployment(namespace: &str, name: &str, uid: &str) -> Self {
        let kind = WorkloadKind::Deployment;
        Self {
            api_version: kind.api_version(),
            kind: kind.label(),
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    /// A pod's direct owner; `None` for kinds that we leave alone.
    pub fn owner(namespace: &str, owner: &Owner) -> Option<Self> {
        let kind = match owner.kind {
            OwnerKind::Other => return None,
            kind => WorkloadKind::of_owner(kind)?,
        };
        Some(Self {
            api_version: kind.api_version(),
            kind: kind.label(),
            namespace: Some(namespace.to_owned()),
            name: owner.name.to_string(),
            uid: owner.uid.to_string(),
        })
    }

    /// A namespace; kubectl finds its Events by the uid, where that is known.
    pub fn namespace(name: &str, uid: &str) -> Self {
        Self {
            api_version: "v1",
            kind: "Namespace",
            namespace: None,
            name: name.to_owned(),
            uid: uid.to_owned(),
        }
    }

    /// Returns the namespace that its Events must lie in.
    fn home(&self) -> &str {
        self.namespace.as_deref().unwrap_or("default")
    }

    fn reference(&self) -> Value {
        let mut reference = json!({
            "apiVersion": self.api_version, "kind": self.kind, "name": self.name,
        });
        for (field, value) in [
            ("namespace", self.namespace.as_deref()),
            ("uid", Some(&*self.uid)),
        ] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                reference[field] = json!(value);
            }
        }
        reference
    }
}

/// As logs name it: `Deployment shop/web`.
impl fmt::Display for About {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, name, .. } = self;
        match &self.namespace {
            Some(namespace) => write!(f, "{kind} {namespace}/{name}"),
            None => write!(f, "{kind} {name}"),
        }
    }
}

/// Something to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Whose Event it is; `kubectl describe` shows it there.
    pub about: About,
    /// Another object that has to do with it.
    pub related: Option<About>,
    /// Why.
    pub reason: EventReason,
    /// What it is told once for, besides `about` and `reason`: the target digest, and since when it is that.
    pub once_for: String,
    /// What to say, at most 1,024 bytes; the rest is cut.
    pub note: String,
}

/// Takes notices and never blocks; a clone shares queue and memory.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Notice>,
    told: Arc<Mutex<Told>>,
    lost: Family<Reason, Counter>,
}

impl Recorder {
    /// Returns the recorder and the task that writes what it takes; `instance` names this process.
    ///
    /// The task ends when the last recorder is dropped and all is written.
    pub fn start(
        server: Server,
        instance: &str,
        lost: Family<Reason, Counter>,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (queue, notices) = mpsc::channel(QUEUE);
        let told = Arc::default();
        let recorder = Self {
            queue,
            told: Arc::clone(&told),
            lost: lost.clone(),
        };
        let instance = cut(instance, INSTANCE_LIMIT).to_owned();
        (recorder, write_all(server, instance, notices, told, lost))
    }

    /// Tells it, unless it has been told before or the queue is full; says whether it does.
    pub fn record(&self, notice: Notice) -> bool {
        let key = key(&notice);
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.insert(key) {
            return false;
        }
        match self.queue.try_send(notice) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                // It may be told when there is room again.
                told.forget(key);
                drop(told);
                self.count("queue_full");
                false
            }
        }
    }

    fn count(&self, reason: &'static str) {
        self.lost.get_or_create(&Reason { reason }).inc();
    }
}

fn key(notice: &Notice) -> u64 {
    let mut hasher = DefaultHasher::new();
    let About {
        uid, name, kind, ..
    } = &notice.about;
    (uid, name, kind, notice.reason, &notice.once_for).hash(&mut hasher);
    hasher.finish()
}

async fn write_all(
    server: Server,
    instance: String,
    mut notices: mpsc::Receiver<Notice>,
    told: Arc<Mutex<Told>>,
    lost: Family<Reason, Counter>,
) {
    let mut is_forbidden = false;
    while let Some(notice) = notices.recv().await {
        let Err(error) = write(&server, &instance, &notice).await else {
            is_forbidden = false;
            continue;
        };
        if error.is_transient() {
            // It may be told when the API server is back. What it refuses it would refuse again.
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.forget(key(&notice));
        }
        let reason = loss(&error);
        lost.get_or_create(&Reason { reason }).inc();
        let (kind, name) = (notice.about.kind, &notice.about.name);
        let words = Chain(&error);
        // A right that is missing is missing for all of them.
        if reason == FORBIDDEN && !std::mem::replace(&mut is_forbidden, true) {
            warn!(reason, error = %words, "No Events can be told, the first on {kind} {name}: {words}");
        } else {
            debug!(reason, error = %words, "No Event on {kind} {name}: {words}");
        }
    }
}

/// What loses Events where the right to create them is missing.
const FORBIDDEN: &str = "forbidden";

/// Returns the documented name of what lost an Event.
fn loss(error: &CallError) -> &'static str {
    match error.refusal() {
        Some(refusal) if refusal.code == 404 => "namespace_gone",
        Some(refusal) if refusal.cause("NamespaceTerminating").is_some() => "namespace_gone",
        Some(refusal) if refusal.code == 403 => FORBIDDEN,
        Some(_) => "refused",
        None => "unreachable",
    }
}

async fn write(server: &Server, instance: &str, notice: &Notice) -> Result<(), CallError> {
    let path = format!(
        "/apis/events.k8s.io/v1/namespaces/{}/events",
        Segment(notice.about.home())
    );
    let mut pauses = PAUSES.into_iter();
    loop {
        // A new name each time: after a timeout the first may exist.
        let event = event(notice, instance, Timestamp::now(), fastrand::u64(..));
        let error = match server
            .send(Method::POST, &path, Media::Json, &event, TIME_LIMIT)
            .await
        {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let again = error.is_transient() || error.code() == 409;
        match pauses.next().filter(|_| again) {
            Some(pause) => sleep(pause).await,
            None => return Err(error),
        }
    }
}

fn event(notice: &Notice, instance: &str, now: Timestamp, chance: u64) -> Value {
    let suffix = format!(".{chance:016x}");
    let name = cut(&notice.about.name, NAME_LIMIT - suffix.len());
    // Each part of a name between dots begins and ends with a letter or a digit.
    let name = name.trim_end_matches(['-', '.']);
    let mut event = json!({
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": format!("{name}{suffix}"), "namespace": notice.about.home()},
        "eventTime": micros(now),
        "reportingController": CONTROLLER,
        "reportingInstance": instance,
        "action": notice.reason.action(),
        "reason": notice.reason.label(),
        "type": notice.reason.kind(),
        "note": cut(&notice.note, NOTE_LIMIT),
        "regarding": notice.about.reference(),
    });
    if let Some(related) = &notice.related {
        event["related"] = related.reference();
    }
    event
}

#[cfg(test)]
mod tests;
