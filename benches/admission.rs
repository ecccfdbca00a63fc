//! What a review costs whose images were resolved a moment ago, and how many questions a crowd of pods asks.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Request, StatusCode, header},
};
use futures::{StreamExt as _, future::join_all, stream};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use podrefresh::{
    admission::{body::REVIEWS, mutate::Mutator, router},
    app,
    cluster::{Namespaces, Server},
    observe::metrics::Metrics,
};
use testbed::{
    images::Format,
    registry::{Fault, Registry, Target},
};
use tokio::runtime::{self, Runtime};

use crate::{
    counted::Heap,
    lookups::LATENCY,
    process::Clock,
    report::{Figure, Report},
    wire,
};

/// A review made from the recorded creation of a pod by a ReplicaSet: with a second container, and with the
/// environment, probes, volumes and labels that pods of a shop have, all of it in managedFields too.
const REVIEW: &str = include_str!("data/two-containers.mutate.json");

/// How long one way of reviewing is measured.
const SPAN: Duration = Duration::from_secs(2);

/// Reviews under way at once where throughput is measured.
const AT_ONCE: usize = 64;

/// Pods that arrive at the same time.
const CROWD: usize = 1000;

pub(crate) fn measure(report: &mut Report) {
    let runtime = Runtime::new().unwrap();
    let registry = Arc::new(runtime.block_on(Registry::anonymous()).unwrap());
    for repository in ["rec/app", "rec/sidecar", "rec/crowd"] {
        let image = Format::Oci.multi_platform(repository);
        registry.store(repository, "latest", &image);
    }
    let body = Bytes::from(REVIEW.replace("127.0.0.1:5000", &registry.host()));
    report.tell(
        "a review of two containers",
        Figure::Size(body.len() as u64),
    );
    let reviewed = body.clone();
    let warm = thread::spawn(move || in_process(reviewed)).join().unwrap();
    report.below(
        "CPU of a warm review in the router",
        warm.cpu,
        Figure::micros(100),
    );
    report.tell(
        "allocations of a warm review",
        Figure::Count(warm.allocations),
    );
    over_tls(report, &runtime, body, warm.answer);
    crowd(report, &runtime, &registry);
}

struct Warm {
    cpu: Figure,
    allocations: u64,
    answer: usize,
}

/// Reviews on this thread alone, without HTTP framing and TLS.
fn in_process(body: Bytes) -> Warm {
    let runtime = single();
    let router = runtime.block_on(async { webhook() });
    let answer = runtime.block_on(review(&router, body.clone()));
    let text = String::from_utf8(answer.to_vec()).unwrap();
    assert!(text.contains(r#""patchType":"JSONPatch""#), "{text}");
    assert!(!text.contains("warnings"), "{text}");
    let batch = |reviews: usize| {
        runtime.block_on(async {
            for _ in 0..reviews {
                review(&router, body.clone()).await;
            }
        });
    };
    batch(200);
    let clock = Clock::of_this_thread();
    let (started, cpu, heap) = (Instant::now(), clock.read(), Heap::now());
    let mut reviews = 0;
    while started.elapsed() < SPAN {
        batch(500);
        reviews += 500;
    }
    let cpu = clock.read() - cpu;
    let allocations = Heap::now().allocations - heap.allocations;
    Warm {
        cpu: Figure::time(cpu / reviews),
        allocations: allocations as u64 / u64::from(reviews),
        answer: answer.len(),
    }
}

/// Reviews through the real server, as an API server sends them: over one HTTP/2 connection.
fn over_tls(report: &mut Report, runtime: &Runtime, body: Bytes, answer: usize) {
    let authority = wire::Authority::new();
    let records = wire::records(&authority, body.len(), answer);
    let server = wire::serve(&authority, webhook);
    let client = wire::Client::new(&authority, &server);
    runtime.block_on(client.review(body.clone()));

    let mut times = Vec::new();
    let (started, cpu) = (Instant::now(), server.clock.read());
    runtime.block_on(async {
        while started.elapsed() < SPAN {
            let sent = Instant::now();
            client.review(body.clone()).await;
            times.push(sent.elapsed());
        }
    });
    let cpu = (server.clock.read() - cpu) / u32::try_from(times.len()).unwrap();
    times.sort_unstable();
    report.tell(
        "CPU of one through the whole server, one at a time",
        Figure::time(cpu),
    );
    report.tell("CPU of the TLS records in that", Figure::time(records));
    report.tell(
        "time of a review, p50",
        Figure::time(times[times.len() / 2]),
    );
    report.tell(
        "time of a review, p99",
        Figure::time(times[times.len() * 99 / 100]),
    );

    let (started, cpu) = (Instant::now(), server.clock.read());
    let mut times: Vec<Duration> = runtime.block_on(async {
        let reviews = stream::repeat_with(|| async {
            let sent = Instant::now();
            client.review(body.clone()).await;
            sent.elapsed()
        });
        let open = |_: &_| std::future::ready(started.elapsed() < SPAN);
        let reviews = reviews.take_while(open).buffer_unordered(AT_ONCE);
        reviews.collect().await
    });
    let took = started.elapsed();
    let cpu = (server.clock.read() - cpu) / u32::try_from(times.len()).unwrap();
    times.sort_unstable();
    report.tell(
        &format!("CPU of one through the whole server, {AT_ONCE} at once"),
        Figure::time(cpu),
    );
    report.rate(
        &format!("{AT_ONCE} at once, on one thread"),
        times.len(),
        took,
    );
    report.tell(
        "time of a review then, p99",
        Figure::time(times[times.len() * 99 / 100]),
    );
}

/// Identical pods come all at once, and nothing is known of their image.
fn crowd(report: &mut Report, runtime: &Runtime, registry: &Registry) {
    let authority = wire::Authority::new();
    let server = wire::serve(&authority, webhook);
    let client = wire::Client::new(&authority, &server);
    let image = registry.reference("rec/crowd", "latest");
    let other = |repository: &str| format!("127.0.0.1:5000/rec/{repository}:latest");
    let body = Bytes::from(
        REVIEW
            .replace(&other("app"), &image)
            .replace(&other("sidecar"), &image),
    );
    // The connection is there already, as an API server's is; this review wants nothing resolved.
    let ignored = Bytes::from(REVIEW.replace(r#""CREATE""#, r#""UPDATE""#));
    runtime.block_on(client.send(ignored));
    let slow = registry.inject(Fault::Latency(LATENCY), Target::all());
    registry.forget_requests();
    let started = Instant::now();
    runtime.block_on(join_all((0..CROWD).map(|_| client.review(body.clone()))));
    let took = started.elapsed();
    report.exactly(
        &format!("manifest requests for {CROWD} identical pods at once"),
        registry.manifest_requests(),
        1,
    );
    report.tell(
        "time until the last of them is answered",
        Figure::time(took),
    );
    drop(slow);
}

/// Returns the webhook with no namespace known, and a resolver that asks without credentials.
fn webhook() -> Router {
    let metrics = Metrics::new();
    let registries = app::Registries {
        lookup_timeout: Duration::from_secs(10),
        docker_config: None,
        credential_providers: None,
        registries_dir: None,
        endpoint: None,
    };
    let nowhere = kube::Config::new("http://127.0.0.1:1".parse().unwrap());
    let (namespaces, _) = Namespaces::start(Server::new(nowhere.try_into().unwrap()));
    let mutator = Mutator {
        resolver: app::resolver(&registries, None, &metrics).unwrap(),
        namespaces,
        // Nothing goes stale while it is measured.
        digest_ttl: Duration::from_secs(3600),
    };
    router::router(mutator, metrics, REVIEWS)
}

async fn review(router: &Router, body: Bytes) -> Bytes {
    let request = Request::post("/mutate?timeout=5s")
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::CONTENT_LENGTH, body.len())
        .body(Body::from(body));
    let router = TowerToHyperService::new(router.clone());
    let (head, body) = router.call(request.unwrap()).await.unwrap().into_parts();
    assert_eq!(head.status, StatusCode::OK);
    body.collect().await.unwrap().to_bytes()
}

/// Returns a runtime of the one thread that calls.
pub(crate) fn single() -> Runtime {
    runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
