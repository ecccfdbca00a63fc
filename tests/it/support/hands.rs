//! A person at a terminal, with the real kubectl.

use std::process::Output;

use tokio::{process::Command, time::timeout};

use super::{
    files::Temporary,
    kube::{PATIENCE, eventually},
    kubectl::Kubectl,
    world::World,
};

/// A kubectl that speaks to a world's cluster as its administrator.
pub(crate) struct Hands {
    kubectl: Kubectl,
    _kubeconfig: Temporary,
}

/// A script that runs when this is dropped: also when the test fails.
pub(crate) struct Afterwards<'a> {
    hands: &'a Hands,
    script: &'a str,
}

impl Hands {
    /// Takes a kubectl to a world.
    pub(crate) fn new(kubectl: Kubectl, world: &World) -> Self {
        let kubeconfig = world.kubeconfig();
        Self {
            kubectl: kubectl.with(kubeconfig.path()),
            _kubeconfig: kubeconfig,
        }
    }

    /// Returns the command that runs a script in which there may be kubectl, until it is dropped.
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::from(self.kubectl.shell(script));
        command.kill_on_drop(true);
        command
    }

    /// Runs a script, and returns what came of it.
    pub(crate) async fn shell(&self, script: &str) -> Output {
        let ended = timeout(PATIENCE, self.command(script).output()).await;
        ended
            .unwrap_or_else(|_| panic!("{script}: still running"))
            .unwrap()
    }

    /// Runs a script that must succeed, and returns what it printed.
    pub(crate) async fn run(&self, script: &str) -> String {
        let output = self.shell(script).await;
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        assert!(
            output.status.success(),
            "{script}: {}\n{out}{err}",
            output.status
        );
        out.into_owned()
    }

    /// Runs a script that must succeed and print `part`.
    pub(crate) async fn prints(&self, script: &str, part: &str) {
        let printed = self.run(script).await;
        assert!(
            printed.contains(part),
            "{script}: no {part:?} in\n{printed}"
        );
    }

    /// Has a script run at the end of a test on a real cluster; a testbed ends with its world.
    pub(crate) fn afterwards<'a>(
        &'a self,
        world: &World,
        script: &'a str,
    ) -> Option<Afterwards<'a>> {
        let is_real = world.simulated.is_none();
        is_real.then_some(Afterwards {
            hands: self,
            script,
        })
    }

    /// Runs a script again and again until it prints all of `parts`.
    pub(crate) async fn comes_to_print(&self, script: &str, parts: &[&str]) {
        eventually(&format!("{parts:?} from {script}"), || async {
            let printed = self.run(script).await;
            parts
                .iter()
                .all(|part| printed.contains(part))
                .then_some(())
        })
        .await;
    }
}

impl Drop for Afterwards<'_> {
    fn drop(&mut self) {
        let output = self.hands.kubectl.shell(self.script).output();
        // A test that has failed tells its own story.
        if !std::thread::panicking() {
            let output = output.unwrap();
            assert!(output.status.success(), "{}: {output:?}", self.script);
        }
    }
}
