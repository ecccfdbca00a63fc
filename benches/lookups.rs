//! How fast many images are resolved, and how many questions equal lookups ask.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
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

pub(crate) fn measure(report: &mut Report) {
    Runtime::new().unwrap().block_on(async {
        many(report).await;
        crowd(report).await;
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

fn resolver() -> Resolver {
    let registries = app::Registries {
        lookup_timeout: Duration::from_secs(10),
        docker_config: None,
        credential_providers: None,
        registries_dir: None,
    };
    app::resolver(&registries, None, &Metrics::new()).unwrap()
}

/// Looks all `references` up at once; each must be `digest`.
async fn resolve(resolver: &Resolver, references: impl Iterator<Item = String>, digest: &str) {
    let identity = Arc::new(PullIdentity {
        namespace: "shop".into(),
        secrets: [].into(),
        service_account: "default".into(),
    });
    let lookups = references.map(|reference| Lookup {
        image: Arc::new(reference.parse().unwrap()),
        identity: identity.clone(),
    });
    let answers = lookups.map(|lookup| async move {
        let answer = resolver.digest(&lookup, Duration::from_secs(30)).await;
        assert_eq!(answer.unwrap().digest.to_string(), digest);
    });
    join_all(answers).await;
}
