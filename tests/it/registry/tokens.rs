//! Debian's docker-registry that lets in who shows a token, signed by a service that it trusts.

use podrefresh::registry::Settings;
use serde_json::json;
use testbed::{Cluster, images::Format};

use crate::support::{
    docker_registry::{DockerRegistry, Protection},
    kube::Kube,
    oci::Oci,
    program::Program,
    resolver::{ask, check_refused, lookup, resolver},
    skip::need,
    skopeo::Skopeo,
    token_service::{Grant, TokenService},
    world::client,
};

const ANN: (&str, &str) = ("ann", "correct horse");
const BOB: (&str, &str) = ("bob", "battery staple");

/// Starts the service: Ann may do all with `team/`, Bob may look at his own, and everybody at `public/`.
async fn service() -> TokenService {
    let both: &[&str] = &["pull", "push"];
    let grant = |user, repositories, actions| Grant {
        user,
        repositories,
        actions,
    };
    TokenService::start(&[
        grant(Some(ANN), "team/", both),
        grant(Some(ANN), "public/", both),
        grant(Some(BOB), "bob/", &["pull"]),
        grant(None, "public/", &["pull"]),
    ])
    .await
}

/// Starts a registry that trusts `service`; `None` where this machine has none.
async fn registry(service: &TokenService) -> Option<DockerRegistry> {
    let protection = Protection {
        tokens: Some(service),
        ..Protection::default()
    };
    need(DockerRegistry::start(protection).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_by_token_is_found_by_token() {
    let service = service().await;
    let Some(registry) = registry(&service).await else {
        return;
    };
    let Some(skopeo) = need(Skopeo::find()) else {
        return;
    };
    let skopeo = skopeo.with_login(ANN);
    let oci = Oci::new(&registry, Some(ANN));
    for image in [
        Format::Oci.multi_platform("1"),
        Format::Docker.image("linux/amd64", "2"),
    ] {
        let reference = oci.push("team/app", "stable", &image).await;
        service.asked();
        let config = json!({"auths": {registry.host(): {"username": ANN.0, "password": ANN.1}}});
        let outcome = Program::new(["digest", &reference])
            .docker_config(&config)
            .run()
            .await;
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(outcome.stdout, format!("{}  {reference}\n", image.digest()));
        // One token, for no more than it takes.
        let scope = "repository:team/app:pull".to_owned();
        assert_eq!(service.asked(), [("ann".to_owned(), scope)]);
        assert_eq!(oci.digest(&reference).await, image.digest());
        assert_eq!(skopeo.digest(&reference).await, image.digest());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_opens_what_its_holder_may_see_and_nothing_else() {
    let service = service().await;
    let Some(registry) = registry(&service).await else {
        return;
    };
    let image = Format::Oci.multi_platform("1");
    let oci = Oci::new(&registry, Some(ANN));
    let team = oci.push("team/app", "1", &image).await;
    let public = oci.push("public/app", "1", &image).await;
    let cluster = Cluster::start().await.unwrap();
    let kube = Kube(client(&cluster.kubeconfig()).await);
    kube.opted_in("shop").await;
    let secrets = [("ann", ANN), ("bob", BOB), ("wrong", (ANN.0, "wrong"))];
    for (name, (user, password)) in secrets {
        kube.pull_secret("shop", name, registry.host(), user, password)
            .await;
    }
    let resolver = resolver(Settings::default(), Some(kube.0.clone()));
    for (secrets, sees_team) in [
        (&["ann"][..], true),
        (&["bob"], false),
        (&["wrong"], false),
        (&[], false),
        (&["bob", "ann"], true),
    ] {
        let answer = ask(&resolver, &lookup(&public, "shop", secrets)).await;
        assert_eq!(answer.unwrap(), image.digest(), "{secrets:?}");
        let answer = ask(&resolver, &lookup(&team, "shop", secrets)).await;
        match sees_team {
            true => assert_eq!(answer.unwrap(), image.digest(), "{secrets:?}"),
            false => check_refused(answer, "unauthorized", &[&team, &"accepted no credential"]),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_service_that_is_gone_is_told_by_its_name() {
    let service = service().await;
    let Some(registry) = registry(&service).await else {
        return;
    };
    let image = Format::Oci.image("linux/amd64", "1");
    let public = Oci::new(&registry, Some(ANN))
        .push("public/app", "1", &image)
        .await;
    drop(service);
    let answer = ask(
        &resolver(Settings::default(), None),
        &lookup(&public, "shop", &[]),
    )
    .await;
    let words: [&dyn std::fmt::Display; 2] = [&"its token service 127.0.0.1 failed", &"refused"];
    check_refused(answer, "unreachable", &words);
}
