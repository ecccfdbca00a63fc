//! What a sidecar tells, each thing once until another is true.

use tracing::{debug, info, warn};

use super::{Next, Trouble, look::Outdated};
use crate::{
    cluster::{About, EventReason, Notice, Recorder, Workload},
    credentials::Problem,
    error::Chain,
    policy::{BadWishes, Container, Pod, solo::Stay},
};

/// Why nothing is to be done for the pod.
#[derive(Debug)]
pub(super) enum Idle {
    /// It is being deleted, or has ended.
    Ending,
    /// Another pod has its name now.
    Replaced,
    /// Its own label says so.
    OptedOut,
    /// Nothing controls it that would replace it.
    NoController,
    /// One of its annotations makes no sense.
    BadWishes(Box<(Pod, BadWishes)>),
    /// The container does not follow a tag that is pulled at each start.
    NothingCounts,
    /// What the tag means has nothing for this node.
    Unfit,
    /// It cannot be told what the container runs.
    Unknown,
}

/// What has been told.
pub(super) struct Told<'a> {
    recorder: &'a Recorder,
    begun: bool,
    /// What was said last of why nothing happens.
    state: String,
    /// What was said last of an outdated container.
    moves: String,
    /// What was said last of credentials that could not be used.
    problems: Vec<String>,
}

impl Idle {
    /// Returns the stable, documented name of the reason: the words of the controller where it knows the same.
    const fn label(&self) -> &'static str {
        match self {
            Self::Ending => "terminating",
            Self::Replaced => "pod_replaced",
            Self::OptedOut => "opted_out",
            Self::NoController => "no_controller",
            Self::BadWishes(_) => "bad_wishes",
            Self::NothingCounts => "nothing_counts",
            Self::Unfit | Self::Unknown => "unknown",
        }
    }

    /// Says what that means for people.
    fn meaning(&self) -> String {
        match self {
            Self::Ending => "the pod is ending".to_owned(),
            Self::Replaced => "another pod has this one's name".to_owned(),
            Self::OptedOut => "the pod's label podrefresh.io/enabled is false".to_owned(),
            Self::NoController => "the pod has no owner that would replace it".to_owned(),
            Self::BadWishes(bad) => bad.1.to_string(),
            Self::NothingCounts => {
                "a new pod would not pull another image: the container's imagePullPolicy is not Always, or its \
                 image has a digest of its own"
                    .to_owned()
            }
            Self::Unfit => {
                "its tag has no image for the node's platform: a replacement could not start there"
                    .to_owned()
            }
            Self::Unknown => "its status does not tell which image it runs".to_owned(),
        }
    }
}

impl<'a> Told<'a> {
    /// Returns that nothing has been told.
    pub(super) const fn new(recorder: &'a Recorder) -> Self {
        Self {
            recorder,
            begun: false,
            state: String::new(),
            moves: String::new(),
            problems: Vec::new(),
        }
    }

    /// Says whether it has been told what is watched.
    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    /// Tells what is watched.
    pub(super) fn begun(&mut self, pod: &Pod, container: &Container, workload: &Workload) {
        self.begun = true;
        let (ns, name, kind) = (&pod.namespace, &pod.name, workload.kind);
        let image =
            (container.image.as_ref()).map_or_else(|bad| bad.to_string(), |it| it.to_string());
        info!(
            pod.namespace = %ns, pod.name = %name, owner.kind = %kind, owner.name = workload.name, image,
            "Watching container {} of pod {ns}/{name} for {kind} {}: {image}", container.name, workload.name
        );
    }

    /// Tells why there is nothing to do, and returns when to look again.
    pub(super) fn idle(&mut self, idle: Idle) -> Next {
        let meaning = idle.meaning();
        if self.is_news(&meaning) {
            let reason = idle.label();
            match &idle {
                Idle::Ending | Idle::Replaced | Idle::OptedOut => {
                    info!(reason, "Left the pod alone: {meaning}");
                }
                _ => warn!(reason, "Left the pod alone: {meaning}"),
            }
        }
        if let Idle::BadWishes(bad) = idle {
            let (pod, bad) = *bad;
            self.record(
                About::pod(&pod),
                EventReason::BadWishes,
                bad.to_string(),
                format!("Left alone: {bad}"),
            );
        }
        Next::Poll
    }

    /// Notes that all is well.
    pub(super) fn current(&mut self) {
        self.state.clear();
        self.moves.clear();
    }

    /// Tells of what keeps us from our work.
    pub(super) fn trouble(&mut self, trouble: &Trouble) {
        let error = Chain(trouble).to_string();
        if self.is_news(&error) {
            warn!(
                reason = trouble.label(),
                error, "Nothing can be done for now: {error}"
            );
        }
    }

    /// Tells of credentials that could not be used, though the registry answered without them.
    pub(super) fn problems(&mut self, problems: &[Problem]) {
        let problems: Vec<String> = (problems.iter())
            .map(|problem| Chain(problem).to_string())
            .collect();
        for problem in problems.iter().filter(|it| !self.problems.contains(it)) {
            warn!(
                error = problem,
                "The registry answered, but a credential was not tried: {problem}"
            );
        }
        self.problems = problems;
    }

    /// Tells that the container is outdated, once for each image.
    pub(super) fn outdated(&mut self, outdated: &Outdated<'_>) {
        let moves = outdated.moves();
        if self.moves != moves {
            let container = &outdated.container.name;
            info!("Container {container} is outdated: {moves}");
            self.moves = moves;
        }
    }

    /// Tells what holds a restart back.
    pub(super) fn held(&mut self, reason: &'static str) {
        if self.is_news(reason) {
            info!(reason, "Held the restart back: {reason}");
        } else {
            debug!(reason, "Held the restart back: {reason}");
        }
    }

    /// Tells, by an Event, of a pod whose strategy is to tell.
    pub(super) fn notified(&self, outdated: &Outdated<'_>) -> Next {
        let moves = outdated.moves();
        self.record(
            About::pod(outdated.pod),
            EventReason::Outdated,
            moves.clone(),
            moves,
        );
        Next::Poll
    }

    /// Tells, by an Event, of a hold that somebody should look at.
    pub(super) fn stayed(&self, outdated: &Outdated<'_>, workload: &Workload, stay: Stay) {
        let moves = outdated.moves();
        let (reason, note) = match stay {
            Stay::Halted => (
                EventReason::RefreshHalted,
                "Restarted for it already, and the rollout has got stuck",
            ),
            Stay::Ineffective => (
                EventReason::RefreshIneffective,
                "Not restarted again: a pod of the last restart came up with the old image (a stale mirror, or a \
                 node's cache)",
            ),
            Stay::NoRollout => (
                EventReason::EvictionBlocked,
                "Not restarted: a change of its template would not replace its pods",
            ),
            Stay::Paused | Stay::Rollout => return,
        };
        self.record(
            About::workload(workload),
            reason,
            moves.clone(),
            format!("{note}. {moves}"),
        );
    }

    /// Tells that the owner was restarted.
    pub(super) fn restarted(&mut self, outdated: &Outdated<'_>, workload: &Workload) {
        let (moves, kind, ns, name) = (
            outdated.moves(),
            workload.kind,
            &workload.namespace,
            &workload.name,
        );
        info!(
            pod.namespace = %ns, owner.kind = %kind, owner.name = name,
            "Restarted {kind} {ns}/{name}: {moves}"
        );
        let note = format!("Restarted: {moves}");
        self.record(
            About::workload(workload),
            EventReason::Restarted,
            moves,
            note,
        );
        // That its own rollout holds it back now is no news.
        self.state = Stay::Rollout.label().to_owned();
    }

    /// Tells that the owner would have been restarted.
    pub(super) fn tried(&self, outdated: &Outdated<'_>, workload: &Workload) {
        let (moves, kind, ns, name) = (
            outdated.moves(),
            workload.kind,
            &workload.namespace,
            &workload.name,
        );
        info!(
            pod.namespace = %ns, owner.kind = %kind, owner.name = name,
            "Would have restarted {kind} {ns}/{name}, but for --dry-run: {moves}"
        );
    }

    /// Notes why nothing happens, and says whether that is another reason than before.
    fn is_news(&mut self, state: &str) -> bool {
        let is_news = self.state != state;
        if is_news {
            state.clone_into(&mut self.state);
        }
        is_news
    }

    fn record(&self, about: About, reason: EventReason, once_for: String, note: String) {
        self.recorder.record(Notice {
            about,
            related: None,
            reason,
            once_for,
            note,
        });
    }
}
