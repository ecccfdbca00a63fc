//! What docs/private-registries.md claims, held against the program: its tables of errors and its worked examples.

use std::{collections::BTreeSet, path::Path, time::Duration};

use k8s_openapi::api::core::v1::{Pod, Secret};
use podrefresh::{
    credentials::{Config, Patience, Providers},
    observe::metrics::Metrics,
};
use serde_json::{Value, json};
use testbed::{Cluster, images::Format};

use crate::support::{
    authority::Authority,
    docker_registry::{DockerRegistry, Protection},
    files::{read, tempfile},
    folder::Folder,
    help,
    kube::Kube,
    kubectl::Kubectl,
    markdown::{code, section, shell_blocks, table},
    oci::Oci,
    overlay::{Overlay, controllers},
    program::Program,
    proxy::Proxy,
    skip::need,
    world::client,
};

const PAGE: &str = "docs/private-registries.md";

/// Returns the words that the functions `label` in the file at `path` can say.
#[track_caller]
fn labels(path: &str) -> BTreeSet<String> {
    let text = read(path);
    let bodies = text.split("fn label(").skip(1);
    let bodies = bodies.map(|behind| behind.split_once("\n    }\n").unwrap().0);
    let words = bodies.flat_map(|body| body.split('"').skip(1).step_by(2));
    let words: BTreeSet<String> = words.map(str::to_owned).collect();
    assert!(!words.is_empty(), "{path} must have labels");
    words
}

/// Returns the words in back ticks of the first cells of the table below `text`'s line `after`.
fn told(text: &str, after: &str) -> BTreeSet<String> {
    let (_, below) = text.split_once(after).expect("the page must say so");
    let rows = below.lines().skip_while(|line| !line.starts_with('|'));
    let rows = rows.take_while(|line| line.starts_with('|')).skip(2);
    rows.flat_map(|row| {
        code(row.split('|').nth(1).unwrap())
            .into_iter()
            .map(str::to_owned)
    })
    .collect()
}

#[test]
fn every_lookup_error_is_told_and_none_that_is_not() {
    let page = read(PAGE);
    let rows = table(&page, "## What lookup errors mean");
    let told: BTreeSet<String> = rows.iter().map(|row| code(&row[0])[0].to_owned()).collect();
    assert_eq!(told, labels("src/registry/fault.rs"));
    assert!(
        rows.iter()
            .all(|row| row[1..].iter().all(|cell| cell.len() > 5))
    );
}

#[test]
fn every_problem_with_credentials_and_hosts_is_told_and_none_that_is_not() {
    let page = read(PAGE);
    let credentials = [
        "src/credentials/problem.rs",
        "src/cluster/secrets.rs",
        "src/credentials/provider/fault.rs",
        "src/cluster/accounts.rs",
    ];
    let credentials: BTreeSet<String> = credentials.into_iter().flat_map(labels).collect();
    let lookups = section(&page, "## What lookup errors mean");
    assert_eq!(
        told(lookups, "`podrefresh_credentials_problems_total{reason}`:"),
        credentials
    );
    let hosts = "`podrefresh_registry_hosts_problems_total{reason}`";
    assert_eq!(told(&page, hosts), labels("src/registry/hosts/load.rs"));
}

/// Returns the objects of the YAML in the section below `heading`.
#[track_caller]
fn objects(heading: &str) -> Vec<Value> {
    let page = read(PAGE);
    let (_, yaml) = section(&page, heading).split_once("```yaml\n").unwrap();
    testbed::manifests::parse(yaml.split("```").next().unwrap()).unwrap()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = objects.iter().find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("the example must have a {kind}"))
}

/// Returns the variables that the example's patch gives the one container of the base; each must be one of the
/// controller's, and a path that is mounted. `None` skips the test.
#[track_caller]
fn variables(objects: &[Value]) -> Option<Vec<(String, String)>> {
    let kubectl = need(Kubectl::find())?;
    let rendered = Overlay::patched(&kubectl, objects).render(&kubectl);
    let [container] = controllers(&rendered).unwrap() else {
        panic!("one container: {rendered:#?}")
    };
    assert_eq!(container["args"][0], "controller");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mounts = container["volumeMounts"].as_array().unwrap();
    let variables = container["env"].as_array().unwrap().iter();
    let variables: Vec<_> = variables
        // What the base sets comes from the pod's own fields.
        .filter(|variable| variable["valueFrom"].is_null())
        .map(|variable| (text(&variable["name"]), text(&variable["value"])))
        .collect();
    let known: Vec<String> = help::flags("controller")
        .into_values()
        .filter_map(|flag| flag.env)
        .collect();
    for (name, value) in &variables {
        assert!(known.contains(name), "{name}");
        let mounted = |mount: &Value| Path::new(value).starts_with(text(&mount["mountPath"]));
        assert!(mounts.iter().any(mounted), "{name}={value} is not mounted");
    }
    Some(variables)
}

#[test]
fn the_example_of_a_plugin_is_a_configuration_that_is_taken() {
    let objects = objects("## ECR by its provider plugin");
    let Some(variables) = variables(&objects) else {
        return;
    };
    let names: Vec<&str> = variables.iter().map(|(name, _)| &**name).collect();
    assert_eq!(
        names,
        [
            "PODREFRESH_CREDENTIAL_PROVIDER_CONFIG",
            "PODREFRESH_CREDENTIAL_PROVIDER_BIN_DIR"
        ]
    );
    let file = Path::new(&variables[0].1).file_name().unwrap();
    let config = &of_kind(&objects, "ConfigMap")["data"][file.to_str().unwrap()];
    let folder = Folder::new();
    let config = folder.write("config.yaml", config.as_str().unwrap());
    let plugin = folder.path().join("ecr-credential-provider");
    std::os::unix::fs::symlink("/bin/sh", plugin).unwrap();
    let patience = Patience {
        run: Duration::from_secs(1),
        wait: Duration::from_secs(1),
    };
    Providers::open(&config, folder.path(), patience, &Metrics::new()).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_a_private_authority_works() {
    let objects = objects("## A private CA");
    let Some(variables) = variables(&objects) else {
        return;
    };
    let [(name, place)] = &variables[..] else {
        panic!("one variable")
    };
    assert_eq!(name, "PODREFRESH_REGISTRIES_DIR");
    // The files as the volume's items put them, with an authority in the place of the dots.
    let authority = Authority::new();
    let pod = &of_kind(&objects, "Deployment")["spec"]["template"]["spec"];
    let items = pod["volumes"][0]["configMap"]["items"].as_array().unwrap();
    let data = &of_kind(&objects, "ConfigMap")["data"];
    let folder = Folder::new();
    for item in items {
        let path = item["path"].as_str().unwrap();
        let parent = folder.path().join(path).parent().unwrap().to_owned();
        std::fs::create_dir_all(parent).unwrap();
        let text = data[item["key"].as_str().unwrap()].as_str().unwrap();
        match text.contains('…') {
            true => folder.write(path, &authority.pem()),
            false => folder.write(path, text),
        };
    }
    assert!(place.starts_with('/'));
    let protection = Protection {
        tls: Some((&authority, &["registry.example"])),
        ..Protection::default()
    };
    let Some(registry) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let image = Format::Oci.multi_platform("1");
    Oci::new(&registry, None)
        .push("team/app", "1", &image)
        .await;
    let proxy = Proxy::to(registry.host().parse().unwrap()).await;
    let reference = "registry.example:5000/team/app:1";
    for (dir, code) in [(Folder::new(), Some(1)), (folder, Some(0))] {
        let program = Program::new(["digest", reference]);
        let program = program
            .env("HTTPS_PROXY", proxy.url())
            .env(name, dir.path());
        let outcome = program.run().await;
        assert_eq!(outcome.code, code, "{outcome}");
        let found = format!("{}  {reference}\n", image.digest());
        assert_eq!(outcome.stdout == found, code == Some(0), "{outcome}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_a_mirror_works() {
    let page = read(PAGE);
    let (_, toml) = section(&page, "## A mirror")
        .split_once("```toml\n")
        .unwrap();
    let folder = Folder::new();
    std::fs::create_dir(folder.path().join("docker.io")).unwrap();
    folder.write("docker.io/hosts.toml", toml.split("```").next().unwrap());
    let authority = Authority::new();
    let protection = Protection {
        tls: Some((&authority, &["mirror.example"])),
        ..Protection::default()
    };
    let Some(mirror) = need(DockerRegistry::start(protection).await) else {
        return;
    };
    let image = Format::Oci.multi_platform("1");
    Oci::new(&mirror, None)
        .push("library/nginx", "1.27", &image)
        .await;
    let proxy = Proxy::to(mirror.host().parse().unwrap()).await;
    let bundle = folder.write("ca.crt", &authority.pem());
    let outcome = Program::new(["digest", "nginx:1.27"])
        .env("HTTPS_PROXY", proxy.url())
        .env("SSL_CERT_FILE", bundle)
        .env("PODREFRESH_REGISTRIES_DIR", folder.path())
        .run()
        .await;
    let found = format!("{}  docker.io/library/nginx:1.27\n", image.digest());
    assert_eq!(
        (outcome.code, &*outcome.stdout),
        (Some(0), &*found),
        "{outcome}"
    );
    let asked = proxy.asked();
    assert!(
        asked.iter().all(|line| line.contains("mirror.example:443")),
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_of_a_pull_secret_works() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let page = read(PAGE);
    let blocks = shell_blocks(section(&page, "## A pull secret"));
    let [(_, script)] = &blocks[..] else {
        panic!("one block: {blocks:?}")
    };
    let cluster = Cluster::start().await.unwrap();
    let kube = Kube(client(&cluster.kubeconfig()).await);
    kube.opted_in("shop").await;
    let kubeconfig = tempfile(&cluster.kubeconfig());
    let mut shell = kubectl.with(kubeconfig.path()).shell(script);
    shell.env("PASSWORD", "hunter2");
    let output = tokio::task::spawn_blocking(move || shell.output());
    let output = output.await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");

    let secret = kube.api::<Secret>("shop").get("pull").await.unwrap();
    let data = &secret.data.unwrap()[".dockerconfigjson"];
    let config = Config::from_config_json(&data.0).unwrap();
    let [entry] = &config.entries[..] else {
        panic!("{config:?}")
    };
    assert!(entry.scope.covers("registry.example:5000", "team/app"));
    let container = json!({"name": "app", "image": "registry.example:5000/team/app:1"});
    let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [container]}});
    let pod = kube.create::<Pod>("shop", pod).await;
    let secrets = pod.spec.unwrap().image_pull_secrets.unwrap();
    assert_eq!(secrets[0].name, "pull");
}
