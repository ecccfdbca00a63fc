//! How fast many images are resolved, and how many questions equal lookups ask.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use hyper::Method;
use podrefresh::{
    app,
    observe::metrics::Metrics,
    policy::PullIdentity,
    registry::{Lookup, Resolver},
};
use testbed::{
    images::Format,
    registry::{Auth, Bearer, Fault, Registry, Target},
};
use tokio::runtime::Runtime;

use crate::report::{Figure, Report};

/// How long a registry takes to answer, each time.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);

const IMAGES: usize = 500;
const CROWD: usize = 1000;

/// Pods that are polled for, in namespaces of a thousand, and the images that they run.
const PODS: usize = 10_000;
const PER_NAMESPACE: usize = 1000;
const POLLED: usize = 200;
const POLLS: usize = 3;

pub(crate) fn measure(report: &mut Report) {
    Runtime::new().unwrap().block_on(async {
        many(report).await;
        crowd(report).await;
        polls(report).await;
    });
}

/// Different images at one host that is slow.
async fn many(report: &mut Report) {
    let registry = Registry::anonymous().await.unwrap();
    let image = Format::Oci.multi_platform("many");
    for n in 0..IMAGES {
        registry.store("many", &format!("v{n}"), &image);
    }
    let _slow = registry.inject(Fault::Latency(LATENCY), Target::all());
    let resolver = resolver();
    let started = Instant::now();
    let lookups = (0..IMAGES).map(|n| registry.reference("many", &format!("v{n}")));
    resolve(&resolver, lookups, image.digest()).await;
    let took = Figure::time(started.elapsed());
    let most = registry.peak_in_flight();
    let what = format!("{IMAGES} images of one host that takes {LATENCY:?} to answer");
    report.below(&what, took, Figure::Time(2.0));
    report.exactly("requests to that host under way at once, at most", most, 16);
}

/// One image that many ask for at once, at a registry that wants tokens.
async fn crowd(report: &mut Report) {
    let registry = Registry::anonymous().await.unwrap();
    let image = Format::Oci.multi_platform("crowd");
    registry.store("crowd", "latest", &image);
    let mut tokens = Bearer::new([]);
    tokens.public = vec!["*".to_owned()];
    registry.require(Auth::Bearer(tokens));
    let _slow = registry.inject(Fault::Latency(LATENCY), Target::all());
    let lookups = (0..CROWD).map(|_| registry.reference("crowd", "latest"));
    resolve(&resolver(), lookups, image.digest()).await;
    report.exactly(
        &format!("{CROWD} cold lookups of one image: manifest requests"),
        registry.manifest_requests(),
        1,
    );
    report.exactly("token requests for them", registry.token_requests(), 1);
}

/// One poll after the other for the images of many pods, at a registry that wants tokens.
async fn polls(report: &mut Report) {
    let registry = Registry::anonymous().await.unwrap();
    let image = Format::Oci.multi_platform("polled");
    let references: Vec<String> = (0..POLLED)
        .map(|n| {
            let repository = format!("polled/app-{n}");
            registry.store(&repository, "stable", &image);
            registry.reference(&repository, "stable")
        })
        .collect();
    let mut tokens = Bearer::new([]);
    tokens.public = vec!["*".to_owned()];
    registry.require(Auth::Bearer(tokens));
    let resolver = resolver();
    let lookups: Vec<Lookup> = (0..PODS)
        .map(|n| {
            lookup(
                &references[n % POLLED],
                &format!("team-{}", n / PER_NAMESPACE),
            )
        })
        .collect();
    let mut most = 0;
    for _ in 0..POLLS {
        let (begun, before) = (Instant::now(), registry.manifest_requests());
        let answers = lookups.iter().map(|lookup| async {
            // What was asked for since the poll began is news to all who wait for it.
            let answer = resolver.digest(lookup, begun.elapsed()).await;
            assert_eq!(answer.unwrap().digest.to_string(), image.digest());
        });
        join_all(answers).await;
        most = most.max(registry.manifest_requests() - before);
    }
    let heads = registry.count(&Target::manifests().method(Method::HEAD));
    report.exactly(
        &format!("manifest requests of a poll for {PODS} pods of {POLLED} images in 10 namespaces"),
        most,
        POLLED,
    );
    report.exactly("HEADs among them", heads, POLLS * POLLED);
    report.exactly(
        &format!("token requests of {POLLS} polls within a token's life"),
        registry.token_requests(),
        POLLED,
    );
}

fn resolver() -> Resolver {
    let registries = app::Registries {
        lookup_timeout: Duration::from_secs(10),
        docker_config: None,
        credential_providers: None,
        registries_dir: None,
        endpoint: None,
    };
    app::resolver(&registries, None, &Metrics::new()).unwrap()
}

/// Looks all `references` up at once; each must be `digest`.
async fn resolve(resolver: &Resolver, references: impl Iterator<Item = String>, digest: &str) {
    let answers = references.map(|reference| async move {
        let lookup = lookup(&reference, "shop");
        let answer = resolver.digest(&lookup, Duration::from_secs(30)).await;
        assert_eq!(answer.unwrap().digest.to_string(), digest);
    });
    join_all(answers).await;
}

/// Returns the lookup of `reference` for a pod of `namespace` without pull secrets.
fn lookup(reference: &str, namespace: &str) -> Lookup {
    Lookup {
        image: Arc::new(reference.parse().unwrap()),
        identity: Arc::new(PullIdentity {
            namespace: namespace.into(),
            secrets: [].into(),
            service_account: "default".into(),
        }),
    }
}
