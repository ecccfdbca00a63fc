//! The webhook of the shipped binary under load: as much as it can take, a cold start of everything, a registry that hangs.

use std::{iter, time::Duration};

use axum::body::Bytes;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use testbed::{
    api::resource,
    images::Format,
    registry::{Fault, Registry, Target},
};
use tokio::runtime::Runtime;

use crate::{
    bare::Bare,
    connections::{IDLE, Protocol},
    controller::{Controller, Program},
    load::{Load, Outcome},
    population::{Population, Size},
    process::resident,
    report::{Figure, Report},
};

/// What is reviewed: see [`crate::admission`].
const REVIEW: &str = include_str!("data/two-containers.mutate.json");

/// How long as many reviews as possible are sent.
const SPAN: Duration = Duration::from_secs(10);

/// How long a rate is kept up at a time, in how many such turns that tell something, and how many are tried for them.
const TURN: Duration = Duration::from_secs(1);
const TURNS: usize = 10;
const TRIES: usize = 60;

/// What 99 of 100 reviews take at most at this rate (a second).
const TARGET_RATE: u32 = 1000;
const TARGET: Duration = Duration::from_millis(2);

/// The cluster has no pods of its own.
const EMPTY: Size = Size {
    pods: 0,
    per_owner: 1,
    images: 1,
};

/// Reviews of the burst, and the images of their pods.
const BURST: usize = 2000;
const BURST_IMAGES: usize = 50;

/// How long the registry takes to answer the burst.
const LATENCY: Duration = Duration::from_millis(50);

/// What the API server grants a review, as the manifests say.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Reviews a second while the registry hangs, each of images of its own, and how many of them there are.
const HANGING_RATE: f64 = 200.0;
const HANGING: usize = 1500;

pub(crate) fn measure(report: &mut Report) {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        report.section(&format!("over {}", protocol.name()));
        over(report, protocol);
    }
}

/// Measures with clients that speak `protocol`.
fn over(report: &mut Report, protocol: Protocol) {
    let runtime = Runtime::new().unwrap();
    let population = runtime.block_on(Population::start(EMPTY));
    let flags = ["--leader-elect=false"];
    let start = || runtime.block_on(Controller::start(&population, Program::Shipped, &flags));
    let api = population.cluster.api();
    let clients = |controller: &Controller| {
        let configuration = api
            .get(&resource::MUTATING_WEBHOOKS, "", "podrefresh")
            .unwrap();
        let bundle = configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str();
        let bundle = STANDARD.decode(bundle.unwrap()).unwrap();
        Load::new(controller.admission, &bundle, protocol)
    };
    let registry = &population.registry;
    let controller = start();
    let bare = Bare::start();
    warm(
        report,
        registry,
        &clients(&controller),
        &bare.clients(protocol),
    );
    drop(bare);
    drop(controller);
    let controller = start();
    burst(report, registry, &clients(&controller));
    report.tell(
        "resident memory then",
        Figure::Memory(resident(controller.process.id())),
    );
    drop(controller);
    let controller = start();
    hanging(report, registry, &clients(&controller), &controller);
}

/// Returns the review of a pod with these images.
fn body(app: &str, sidecar: &str) -> Bytes {
    let other = |repository: &str| format!("127.0.0.1:5000/rec/{repository}:latest");
    let body = REVIEW.replace(&other("app"), app);
    Bytes::from(body.replace(&other("sidecar"), sidecar))
}

/// Stores an image under `repository`, and returns its reference.
fn image(registry: &Registry, repository: &str) -> String {
    registry.store(
        repository,
        "latest",
        &Format::Oci.multi_platform(repository),
    );
    registry.reference(repository, "latest")
}

/// All images were resolved a moment ago.
fn warm(report: &mut Report, registry: &Registry, load: &Load, bare: &Load) {
    let body = body(&image(registry, "rec/app"), &image(registry, "rec/sidecar"));
    let mut failed = 0;
    let mut all = |outcome: &Outcome| failed += outcome.count() - outcome.stamped;
    // API servers that have been at work for a while keep as many connections as they needed at once.
    bare.closed_loop(&body, IDLE, Duration::from_secs(1));
    all(&load.closed_loop(&body, IDLE, Duration::from_secs(1)));
    all(&send(load, &body, 500, Duration::from_secs(2)));
    for rate in [200, 1000, 5000] {
        let limit = (rate == TARGET_RATE).then_some(TARGET / 2);
        let (quiet, disturbed) = keep_up(rate, &body, load, bare, limit);
        all(&quiet.ours);
        all(&disturbed.ours);
        let is_told = quiet.count == TURNS;
        let turns = if is_told { &quiet } else { &disturbed };
        let name = |part: &str| format!("{rate} reviews a second, {part}");
        report.tell(&name("p50"), Figure::time(turns.ours.all_but(500)));
        let p99 = Figure::time(turns.ours.all_but(10));
        match limit {
            None => report.tell(&name("p99"), p99),
            Some(_) if is_told => report.below(&name("p99"), p99, Figure::time(TARGET)),
            Some(_) => report.untold(&name("p99"), p99, Figure::time(TARGET)),
        }
        report.tell(&name("p99.9"), Figure::time(turns.ours.all_but(1)));
        report.tell(
            &name("p99 of a server that does nothing"),
            Figure::time(turns.floor.all_but(10)),
        );
        if limit.is_some() {
            let what = name(&format!(
                "turns on a quiet machine, of {}",
                quiet.count + disturbed.count
            ));
            report.tell(&what, Figure::Count(quiet.count as u64));
        }
        // One that cannot be kept up shows here.
        report.rate(&name("answered"), turns.ours.count(), turns.ours.took);
    }
    let outcome = load.closed_loop(&body, 256, SPAN);
    all(&outcome);
    report.rate(
        "as many as it takes, 256 at once",
        outcome.count(),
        outcome.took,
    );
    report.tell("p99 then", Figure::time(outcome.all_but(10)));
    report.exactly("reviews among all these without stamps", failed, 0);
}

/// What became of a rate that was kept up turn by turn with a server that does nothing.
#[derive(Default)]
struct Turns {
    ours: Outcome,
    /// Of the other server, before each turn.
    floor: Outcome,
    count: usize,
}

impl Turns {
    fn add(&mut self, ours: Outcome, floor: Outcome) {
        self.ours.add(ours);
        self.floor.add(floor);
        self.count += 1;
    }
}

/// Keeps `rate` up for as many turns as are wanted on a quiet machine; returns these, and the others.
///
/// A turn is quiet where 99 of 100 answers of the other server stayed below `limit` both before and after it: whatever
/// else the machine does is not the webhook's.
fn keep_up(
    rate: u32,
    body: &Bytes,
    load: &Load,
    bare: &Load,
    limit: Option<Duration>,
) -> (Turns, Turns) {
    let (mut quiet, mut disturbed) = (Turns::default(), Turns::default());
    let is_quiet = |floor: &Outcome| limit.is_none_or(|limit| floor.all_but(10) < limit);
    let mut before = send(bare, body, rate, TURN);
    for _ in 0..TRIES {
        let ours = send(load, body, rate, TURN);
        let after = send(bare, body, rate, TURN);
        if is_quiet(&before) && is_quiet(&after) {
            quiet.add(ours, before);
        } else {
            disturbed.add(ours, before);
        }
        if quiet.count == TURNS {
            break;
        }
        before = after;
    }
    (quiet, disturbed)
}

/// Sends `body` at `rate` a second for `span`.
fn send(load: &Load, body: &Bytes, rate: u32, span: Duration) -> Outcome {
    let count = (f64::from(rate) * span.as_secs_f64()) as usize;
    load.open_loop(iter::repeat_n(body.clone(), count), f64::from(rate))
}

/// Everything starts at once, and nothing is known of any image.
fn burst(report: &mut Report, registry: &Registry, load: &Load) {
    let images: Vec<String> = (0..BURST_IMAGES)
        .map(|nth| image(registry, &format!("burst/app-{nth}")))
        .collect();
    let bodies: Vec<Bytes> = images.iter().map(|image| body(image, image)).collect();
    let slow = registry.inject(Fault::Latency(LATENCY), Target::all());
    registry.forget_requests();
    let outcome = load.open_loop(bodies.iter().cycle().take(BURST).cloned(), f64::INFINITY);
    drop(slow);
    let what = format!("{BURST} cold pods of {BURST_IMAGES} images at once");
    report.exactly(
        &format!("manifest requests for {what}"),
        registry.manifest_requests(),
        BURST_IMAGES,
    );
    report.exactly(&format!("stamped of {what}"), outcome.stamped, BURST);
    report.below(
        "time until the last of them is answered",
        Figure::time(outcome.longest()),
        Figure::time(TIMEOUT),
    );
}

/// No image can be resolved: the connections open, and nothing comes.
fn hanging(report: &mut Report, registry: &Registry, load: &Load, controller: &Controller) {
    let _hang = registry.inject(Fault::Hang, Target::all());
    let mut longest = Duration::ZERO;
    let mut failed = 0;
    let mut round = |nth: usize| {
        let bodies = (0..HANGING).map(|pod| {
            let image = |part| registry.reference(&format!("hang/{part}-{nth}-{pod}"), "latest");
            body(&image("app"), &image("side"))
        });
        let outcome = load.open_loop(bodies, HANGING_RATE);
        longest = longest.max(outcome.longest());
        failed += outcome.failed;
        resident(controller.process.id())
    };
    let first = round(0);
    let last = round(1).max(round(2));
    report.exactly(
        "reviews without an answer while the registry hangs",
        failed,
        0,
    );
    report.below(
        "the longest of them",
        Figure::time(longest),
        Figure::time(TIMEOUT),
    );
    report.tell(
        &format!("resident memory after {HANGING} of them"),
        Figure::Memory(first),
    );
    report.below(
        "more after three times as many",
        Figure::Memory(last.saturating_sub(first)),
        Figure::Memory(8 << 20),
    );
}
