//! As a plugin of the real kubectl.

use std::os::unix::fs::symlink;

use crate::support::{
    folder::Folder, hands::Hands, kube::name, kubectl::Kubectl, skip::need, world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_runs_it_by_its_name() {
    let Some(kubectl) = need(Kubectl::find()) else {
        return;
    };
    let world = World::running(&[]).await;
    let hands = Hands::new(kubectl, &world);
    let (image, old) = world.push("shop/web", "stable", "1");
    world.kube.opted_in("shop").await;
    world.kube.deployment("shop", "web", 1, &image).await;
    let pod = world.kube.running("shop", 1, &old).await.remove(0);
    let folder = Folder::new();
    let program = env!("CARGO_BIN_EXE_podrefresh");
    symlink(program, folder.path().join("kubectl-podrefresh")).unwrap();
    let run = async |words: &str| {
        let path = folder.path().display();
        hands
            .run(&format!("PATH={path}:$PATH kubectl podrefresh {words}"))
            .await
    };

    let told = run(&format!("explain pod/{} -n shop", name(&pod))).await;
    let mut lines = told.lines();
    let head = format!("Pod shop/{} of ReplicaSet/web-", name(&pod));
    let first = lines.next().unwrap();
    assert!(
        first.starts_with(&head) && first.contains(" of Deployment/web on "),
        "{told}"
    );
    assert_eq!(lines.next(), Some("Not outdated"), "{told}");
    assert!(
        told.contains(&format!("  T, the tag now   {old}\n")),
        "{told}"
    );
    assert!(
        told.contains(&format!("  I, the imageID   {old}\n")),
        "{told}"
    );
    let told = run("status -n shop").await;
    assert_eq!(told.lines().count(), 2, "{told}");
    let help = run("explain --help").await;
    assert!(
        help.contains("Usage: kubectl podrefresh explain [OPTIONS] <POD>"),
        "{help}"
    );
    if let Some(simulated) = &world.simulated {
        simulated.cluster.assert_clean();
    }
}
