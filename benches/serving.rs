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

/// How often each rate is kept up, and how long at a time.
const TURNS: u32 = 5;
const TURN: Duration = Duration::from_secs(2);

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
        // Turn by turn, so that what the machine does beside this meets both alike.
        let (mut outcome, mut floor) = (Outcome::default(), Outcome::default());
        for _ in 0..TURNS {
            floor.add(send(bare, &body, rate, TURN));
            outcome.add(send(load, &body, rate, TURN));
        }
        all(&outcome);
        let name = |part: &str| format!("{rate} reviews a second, {part}");
        report.tell(&name("p50"), Figure::time(outcome.all_but(500)));
        let (p99, least) = (outcome.all_but(10), floor.all_but(10));
        if rate == TARGET_RATE {
            report.below_where_possible(&name("p99"), p99, TARGET, least);
        } else {
            report.tell(&name("p99"), Figure::time(p99));
        }
        report.tell(&name("p99.9"), Figure::time(outcome.all_but(1)));
        report.tell(
            &name("p99 of a server that does nothing"),
            Figure::time(least),
        );
        // One that cannot be kept up shows here.
        report.rate(&name("answered"), outcome.count(), outcome.took);
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
