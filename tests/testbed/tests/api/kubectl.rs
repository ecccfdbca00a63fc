//! The real kubectl against the whole testbed.
//!
//! `TESTBED_KUBECTL` names the programs to try, separated by colons; without it the one on the PATH is
//! taken. Without any the test says that it was skipped.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::json;
use testbed::images::Format;
use testbed::registry::Registry;
use testbed::{Cluster, Life, kubelet};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::support::Failure;

struct Kubectl {
    program: PathBuf,
    folder: PathBuf,
}

impl Kubectl {
    async fn try_run(&self, line: &str, input: &str) -> Result<Output, Failure> {
        let mut child = Command::new(&self.program)
            .args(line.split_whitespace())
            .env("KUBECONFIG", self.folder.join("kubeconfig"))
            .env("KUBECACHEDIR", self.folder.join("cache"))
            .env("HOME", &self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes()).await?;
        }
        Ok(tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await??)
    }

    /// Runs a command that must succeed, and returns what it prints.
    async fn run(&self, line: &str, input: &str) -> Result<String, Failure> {
        let output = self.try_run(line, input).await?;
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        if !output.status.success() {
            return Err(format!("kubectl {line}: {}\n{out}{err}", output.status).into());
        }
        Ok(out.into_owned())
    }

    #[track_caller]
    fn expect(line: &str, printed: &str, part: &str) -> Result<(), Failure> {
        if printed.contains(part) {
            Ok(())
        } else {
            Err(format!("kubectl {line} printed\n{printed}\nwithout {part:?}").into())
        }
    }

    async fn prints(&self, line: &str, part: &str) -> Result<(), Failure> {
        Self::expect(line, &self.run(line, "").await?, part)
    }

    async fn fails(&self, line: &str, part: &str) -> Result<(), Failure> {
        let output = self.try_run(line, "").await?;
        assert!(!output.status.success(), "kubectl {line} succeeded");
        Self::expect(line, &String::from_utf8_lossy(&output.stderr), part)
    }
}

fn programs() -> Vec<PathBuf> {
    if let Some(given) = std::env::var_os("TESTBED_KUBECTL") {
        return std::env::split_paths(&given).collect();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("kubectl"))
        .find(|program| program.is_file())
        .into_iter()
        .collect()
}

fn deployment(name: &str, image: &str, replicas: u32) -> String {
    let container = json!({ "name": "app", "image": image });
    let spec = json!({ "terminationGracePeriodSeconds": 1, "containers": [container] });
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "replicas": replicas, "selector": { "matchLabels": { "app": name } },
            "template": { "metadata": { "labels": { "app": name } }, "spec": spec },
        },
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_finds_a_cluster() -> Result<(), Failure> {
    let programs = programs();
    if programs.is_empty() {
        writeln!(
            std::io::stderr(),
            "skipped: kubectl_finds_a_cluster: there is no kubectl on the PATH"
        )?;
    }
    for program in programs {
        let cluster = Cluster::start().await?;
        let registry = Registry::anonymous().await?;
        registry.store("app", "v1", &Format::Oci.multi_platform("one"));
        registry.store("app", "v2", &Format::Oci.multi_platform("two"));
        let _life = Life::start(cluster.api(), kubelet::Options::default()).await?;
        let folder = std::env::temp_dir().join(format!(
            "testbed-kubectl-{}-{}",
            std::process::id(),
            cluster.address().port()
        ));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("kubeconfig"), cluster.kubeconfig())?;
        let kubectl = Kubectl { program, folder };
        let done = walk(&kubectl, &registry).await;
        std::fs::remove_dir_all(&kubectl.folder)?;
        done.map_err(|error| format!("{}: {error}", kubectl.program.display()))?;
        cluster.assert_clean();
    }
    Ok(())
}

async fn walk(kubectl: &Kubectl, registry: &Registry) -> Result<(), Failure> {
    let (v1, v2) = (
        registry.reference("app", "v1"),
        registry.reference("app", "v2"),
    );
    kubectl.prints("version", "v1.36.2").await?;
    kubectl.prints("get --raw /readyz", "ok").await?;
    kubectl
        .prints("api-resources --api-group=apps", "deployments")
        .await?;
    kubectl
        .prints("create namespace shop", "namespace/shop created")
        .await?;
    kubectl
        .prints(
            "label namespace shop podrefresh.io/enabled=true",
            "namespace/shop labeled",
        )
        .await?;
    kubectl
        .prints(
            "annotate namespace shop podrefresh.io/mode=stamp",
            "annotated",
        )
        .await?;
    kubectl
        .prints("get ns -l podrefresh.io/enabled=true", "shop")
        .await?;
    kubectl
        .prints("auth can-i create pods/eviction", "yes")
        .await?;
    kubectl
        .prints(
            "create secret generic s -n shop --from-literal=a=b",
            "secret/s created",
        )
        .await?;
    kubectl
        .prints("get secret s -n shop -o jsonpath={.data.a}", "Yg==")
        .await?;
    kubectl
        .prints("create token default -n shop", "testbed-")
        .await?;
    kubectl
        .prints(
            &format!("create deployment made -n shop --image={v1} --replicas=1"),
            "created",
        )
        .await?;
    kubectl
        .prints(
            "create pdb made -n shop --selector=app=made --min-available=0",
            "created",
        )
        .await?;

    // Client-side apply, a rollout, and what it looks like on the way.
    let applied = kubectl
        .run("apply -n shop -f -", &deployment("web", &v1, 2))
        .await?;
    Kubectl::expect("apply", &applied, "deployment.apps/web created")?;
    kubectl
        .prints(
            "rollout status -n shop deploy/web --timeout=30s",
            "successfully rolled out",
        )
        .await?;
    kubectl
        .prints(
            "wait -n shop --for=condition=Available deploy/made --timeout=30s",
            "condition met",
        )
        .await?;
    kubectl
        .prints("get pods -n shop", "1/1     Running")
        .await?;
    kubectl
        .prints(
            "get deploy,rs,sts,ds,pdb,secret,cm,sa,events -n shop",
            "deployment.apps/web",
        )
        .await?;
    kubectl.prints("get pods -n shop -o wide", "node-").await?;
    kubectl.prints("get nodes", "Ready").await?;
    let columns = "custom-columns=POD:.metadata.name,IMAGE:.spec.containers[0].image";
    kubectl
        .prints(&format!("get pods -n shop -o {columns}"), &v1)
        .await?;
    kubectl
        .prints("describe deploy -n shop web", "NewReplicaSet")
        .await?;
    kubectl
        .prints("describe pods -n shop -l app=web", "Image ID:")
        .await?;
    kubectl.prints("describe ns shop", "Active").await?;
    kubectl
        .prints("logs -n shop deploy/web", "testbed: app")
        .await?;
    let same = kubectl
        .run("apply -n shop -f -", &deployment("web", &v1, 2))
        .await?;
    Kubectl::expect("apply", &same, "unchanged")?;
    let changed = kubectl
        .run("apply -n shop -f -", &deployment("web", &v2, 2))
        .await?;
    Kubectl::expect("apply", &changed, "configured")?;
    kubectl
        .prints(
            "rollout status -n shop deploy/web --timeout=30s",
            "successfully rolled out",
        )
        .await?;
    kubectl
        .prints(&format!("get pods -n shop -l app=web -o {columns}"), &v2)
        .await?;
    kubectl
        .prints("rollout history -n shop deploy/web", "2")
        .await?;
    kubectl
        .prints("rollout restart -n shop deploy/web", "restarted")
        .await?;
    kubectl
        .prints(
            "rollout status -n shop deploy/web --timeout=30s",
            "successfully rolled out",
        )
        .await?;
    kubectl
        .prints("scale -n shop deploy/web --replicas=1", "scaled")
        .await?;
    kubectl
        .prints(&format!("set image -n shop deploy/web app={v1}"), "updated")
        .await?;
    kubectl.prints("patch -n shop deploy web --type=json -p [{\"op\":\"test\",\"path\":\"/metadata/name\",\"value\":\"web\"}]", "patched").await?;
    let forced = kubectl
        .run(
            "apply -n shop --server-side --force-conflicts -f -",
            &deployment("ssa", &v1, 1),
        )
        .await?;
    Kubectl::expect("apply --server-side", &forced, "serverside-applied")?;
    kubectl
        .prints("events -n shop", "ScalingReplicaSet")
        .await?;
    kubectl
        .prints(
            "drain node-1 --ignore-daemonsets --delete-emptydir-data --force --dry-run=server",
            "drained",
        )
        .await?;

    let created = kubectl
        .run(
            "create -n shop -f -",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: b}\n",
        )
        .await?;
    Kubectl::expect("create", &created, "configmap/c created")?;
    kubectl.prints("get cm c -n shop -o yaml", "a: b").await?;
    kubectl
        .fails("get pod nosuch -n shop", "pods \"nosuch\" not found")
        .await?;
    kubectl
        .fails("annotate pod nosuch -n shop a=b", "not found")
        .await?;
    kubectl
        .prints("delete deploy web -n shop --timeout=30s", "deleted")
        .await?;
    kubectl
        .prints("delete pods -n shop --all --timeout=30s", "deleted")
        .await?;
    kubectl
        .prints("delete namespace shop --timeout=30s", "deleted")
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_watches() -> Result<(), Failure> {
    for program in programs() {
        let cluster = Cluster::start().await?;
        let folder = std::env::temp_dir().join(format!(
            "testbed-watch-{}-{}",
            std::process::id(),
            cluster.address().port()
        ));
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("kubeconfig"), cluster.kubeconfig())?;
        let kubectl = Kubectl { program, folder };
        let watching = kubectl.run("get cm -w -n default --request-timeout=4s", "");
        let creating = async {
            let opened = |entry: &testbed::journal::Entry| entry.is("watch", "configmaps");
            assert!(
                cluster
                    .journal()
                    .wait_for(1, Duration::from_secs(30), opened)
                    .await,
                "no watch was opened"
            );
            let map = json!({ "metadata": { "name": "seen" } });
            cluster
                .api()
                .create(&testbed::api::resource::CONFIG_MAPS, "default", map)
                .await
        };
        let (printed, created) = tokio::join!(watching, creating);
        std::fs::remove_dir_all(&kubectl.folder)?;
        created?;
        // Whether the end of the time counts as a failure differs between releases; what was seen does not.
        let printed = printed.unwrap_or_else(|error| error.to_string());
        Kubectl::expect("get -w", &printed, "seen")?;
        cluster.assert_clean();
    }
    Ok(())
}
