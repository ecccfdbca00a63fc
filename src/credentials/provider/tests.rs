//! Plugins as programs: shell scripts that answer, and that fail in every way a program can.

use std::{fs, os::unix::fs::symlink, path::PathBuf};

use futures::future::join_all;
use serde_json::json;

use tokio::time::Instant;

use super::{turns::AT_ONCE, *};
use crate::{error::Chain, observe::metrics::Reason};

const PATIENCE: Patience = Patience {
    run: Duration::from_secs(20),
    wait: Duration::from_secs(20),
};

/// A folder with one plugin: the shell, under the name `fake`. It is removed when dropped.
struct Fake {
    folder: PathBuf,
    metrics: Metrics,
}

impl Fake {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("podrefresh-{}", fastrand::u64(..)));
        fs::create_dir(&folder).unwrap();
        // No script is written to disk: a file that was just written may be busy for a moment.
        symlink("/bin/sh", folder.join("fake")).unwrap();
        Self {
            folder,
            metrics: Metrics::new(),
        }
    }

    /// Returns a provider that runs `script` with `$DIR` and `$EXTRA` set, for images of `*.test` and `other.io`.
    fn providers(&self, script: &str, patience: Patience) -> Providers {
        let config = json!({
            "apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig",
            "providers": [{
                "name": "fake", "matchImages": ["*.test", "other.io"], "defaultCacheDuration": "1h",
                "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "args": ["-c", script],
                "env": [{"name": "DIR", "value": self.folder}, {"name": "EXTRA", "value": "extra"}],
            }],
        });
        let path = self.folder.join("config.json");
        fs::write(&path, config.to_string()).unwrap();
        Providers::open(&path, &self.folder, patience, &self.metrics).unwrap()
    }

    /// Returns how often a script wrote a line that begins with `word` to `$DIR/log`.
    fn count(&self, word: &str) -> usize {
        let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
        log.lines().filter(|line| line.starts_with(word)).count()
    }

    fn problems(&self, reason: &'static str) -> u64 {
        let counters = &self.metrics.credentials_problems;
        counters.get_or_create(&Reason { reason }).get()
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Providers {
    async fn ask_for_nobody(&self, image: &ImageRef) -> Vec<Arc<Said>> {
        self.ask(image, &nobody(), Duration::ZERO).await
    }

    async fn renew_for_nobody(&self, image: &ImageRef, since: Duration) -> Vec<Arc<Said>> {
        self.renew(image, &nobody(), since).await
    }
}

fn nobody() -> PullIdentity {
    PullIdentity {
        namespace: "".into(),
        secrets: Box::default(),
        service_account: "".into(),
    }
}

fn image(text: &str) -> ImageRef {
    text.parse().unwrap()
}

/// Returns a script that logs a run and answers with a password for `*.test`.
fn answer(reach: &str, duration: &str) -> String {
    let answer = json!({
        "apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse",
        "cacheKeyType": reach, "cacheDuration": duration,
        "auth": {"*.test": {"username": "ann", "password": "pw"}},
    });
    format!("echo run >> $DIR/log; cat > $DIR/request; echo '{answer}'")
}

/// Returns how many credentials an answer has, and the labels of what is wrong with it.
fn outline(said: &[Arc<Said>]) -> Vec<(usize, Vec<&'static str>)> {
    let outline = said.iter().map(|said| {
        let labels = said.problems().map(|problem| problem.label()).collect();
        (said.config.entries.len(), labels)
    });
    outline.collect()
}

/// Checks how often the plugin runs when all of `images` are asked about, together and then again.
async fn check_runs(reach: &str, duration: &str, images: &[&str], together: usize, then: usize) {
    let fake = Fake::new();
    let providers = fake.providers(&answer(reach, duration), PATIENCE);
    let images: Vec<ImageRef> = images.iter().map(|text| image(text)).collect();
    let crowd = images.iter().cycle().take(images.len() * 20);
    for said in join_all(crowd.map(|image| providers.ask_for_nobody(image))).await {
        assert_eq!(outline(&said), [(1, vec![])]);
    }
    assert_eq!(fake.count("run"), together, "{reach} {duration} together");
    for image in &images {
        providers.ask_for_nobody(image).await;
    }
    assert_eq!(
        fake.count("run"),
        together + then,
        "{reach} {duration} then"
    );
}

#[tokio::test]
async fn the_request_is_the_kubelets() {
    let fake = Fake::new();
    let script = format!("echo $EXTRA $HOME > $DIR/env; {}", answer("Image", "1h"));
    let providers = fake.providers(&script, PATIENCE);
    providers.ask_for_nobody(&image("a.test/org/app:1")).await;
    let request = fs::read(fake.folder.join("request")).unwrap();
    let request: serde_json::Value = serde_json::from_slice(&request).unwrap();
    assert_eq!(
        request,
        json!({
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1",
            "kind": "CredentialProviderRequest", "image": "a.test/org/app",
        })
    );
    let env = fs::read_to_string(fake.folder.join("env")).unwrap();
    let home = std::env::var("HOME").unwrap_or_default();
    assert_eq!(env.trim(), format!("extra {home}").trim());
}

#[tokio::test]
async fn only_images_that_match_are_asked_about() {
    let fake = Fake::new();
    let providers = fake.providers(&answer("Global", "1h"), PATIENCE);
    for text in ["a.b.test/app", "nginx", "a.test:5000/app"] {
        assert!(!providers.cover(&image(text)), "{text}");
        assert!(
            providers.ask_for_nobody(&image(text)).await.is_empty(),
            "{text}"
        );
    }
    assert!(providers.cover(&image("a.test/app")));
    assert_eq!(fake.count("run"), 0);
}

#[tokio::test]
async fn an_answer_reaches_as_far_as_it_says() {
    let images = [
        "a.test/x:1",
        "a.test/x:2",
        "a.test/y",
        "b.test/x",
        "other.io/x",
    ];
    // How far that is shows with the first answer, which was looked for as its registry's: where it is
    // something else, the first image is asked about once more under its own name.
    check_runs("Image", "1h", &images[..3], 2, 1).await;
    check_runs("Registry", "1h", &images, 3, 0).await;
    check_runs("Global", "1h", &images[..3], 1, 1).await;
}

#[tokio::test]
async fn a_global_answer_serves_every_registry_from_then_on() {
    let fake = Fake::new();
    let providers = fake.providers(&answer("Global", "1h"), PATIENCE);
    for text in ["a.test/x", "a.test/x", "b.test/y", "other.io/z", "a.test/x"] {
        providers.ask_for_nobody(&image(text)).await;
    }
    assert_eq!(fake.count("run"), 2);
}

#[tokio::test]
async fn no_time_is_not_remembered_but_shared() {
    check_runs("Registry", "0s", &["a.test/x", "a.test/y"], 1, 2).await;
}

#[tokio::test]
async fn a_crowd_of_images_never_runs_more_than_a_few_at_once() {
    let fake = Fake::new();
    let script = format!(
        "echo in >> $DIR/log; ls $DIR | grep -c '^p' >> $DIR/most; : > $DIR/p$$; sleep 0.02; rm $DIR/p$$; {}",
        answer("Image", "1h")
    );
    let providers = fake.providers(&script, PATIENCE);
    let images: Vec<ImageRef> = (0..24).map(|n| image(&format!("a.test/x{n}"))).collect();
    for said in join_all(images.iter().map(|image| providers.ask_for_nobody(image))).await {
        assert_eq!(outline(&said), [(1, vec![])]);
    }
    assert_eq!(fake.count("in"), 24);
    let most = fs::read_to_string(fake.folder.join("most")).unwrap();
    let most = most.lines().map(|n| n.parse::<usize>().unwrap()).max();
    assert!(most.unwrap() < AT_ONCE, "{most:?} beside one more");
}

/// Checks what a script that misbehaves comes to, and that it is neither run again at once nor shown.
async fn check_fault(script: &str, expected: &'static str, words: &str) {
    let fake = Fake::new();
    let script = format!("echo run >> $DIR/log; {script}");
    let patience = Patience {
        run: Duration::from_millis(1500),
        ..PATIENCE
    };
    let providers = fake.providers(&script, patience);
    let image = image("a.test/x");
    for _ in 0..2 {
        let said = providers.ask_for_nobody(&image).await;
        assert_eq!(outline(&said), [(0, vec![expected])], "{script}");
        let problem = said[0].problems().next().unwrap();
        let text = Chain(&problem).to_string();
        assert!(text.starts_with("credential provider fake"), "{text}");
        assert!(text.contains(words) && !text.contains("hunter2"), "{text}");
    }
    assert_eq!(fake.problems(expected), 1, "{script}");
    assert!(fake.count("run") <= 1, "{script}");
}

#[tokio::test]
async fn every_fault_is_told_apart_and_shows_nothing_that_was_printed() {
    check_fault(
        "echo hunter2 >&2; exit 3",
        "provider_failed",
        "exit status: 3",
    )
    .await;
    check_fault("kill -SEGV $$", "provider_failed", "signal: 11").await;
    check_fault("echo hunter2", "provider_malformed", "in JSON").await;
    check_fault("cat > /dev/null", "provider_malformed", "in JSON").await;
    check_fault("exec < /dev/null; exit 0", "provider_malformed", "in JSON").await;
    let endless = "cat /dev/zero";
    check_fault(endless, "provider_malformed", "longer than 1 MiB").await;
    check_fault("exec cat /dev/zero >&2", "provider_timeout", "within 1.5 s").await;
    check_fault("exec sleep 100", "provider_timeout", "within 1.5 s").await;
    check_fault(
        "exec >&- 2>&-; sleep 100",
        "provider_timeout",
        "within 1.5 s",
    )
    .await;
}

#[tokio::test]
async fn a_program_that_is_gone_is_a_fault() {
    let fake = Fake::new();
    let providers = fake.providers("", PATIENCE);
    fs::remove_file(fake.folder.join("fake")).unwrap();
    let said = providers.ask_for_nobody(&image("a.test/x")).await;
    assert_eq!(outline(&said), [(0, vec!["provider_failed"])]);
}

#[tokio::test]
async fn what_a_hung_program_started_is_ended_with_it() {
    let fake = Fake::new();
    let script = "sleep 100 & echo $! > $DIR/child; echo $$ > $DIR/parent; wait";
    let patience = Patience {
        run: Duration::from_millis(1500),
        ..PATIENCE
    };
    let said = fake
        .providers(script, patience)
        .ask_for_nobody(&image("a.test/x"))
        .await;
    assert_eq!(outline(&said), [(0, vec!["provider_timeout"])]);
    let deadline = Instant::now() + Duration::from_secs(10);
    for name in ["child", "parent"] {
        let pid = fs::read_to_string(fake.folder.join(name)).unwrap();
        let stat = format!("/proc/{}/stat", pid.trim());
        // Dead, and perhaps not yet collected by its parent.
        let alive = || {
            let stat = fs::read_to_string(&stat).unwrap_or_default();
            stat.rsplit(')')
                .next()
                .is_some_and(|rest| !matches!(rest.trim().chars().next(), None | Some('Z' | 'X')))
        };
        while alive() {
            assert!(Instant::now() < deadline, "{name} lives");
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_lookup_does_not_wait_for_a_slow_plugin_whose_answer_still_counts() {
    let fake = Fake::new();
    let script = format!(
        "until [ -e $DIR/go ]; do sleep 0.01; done; {}",
        answer("Image", "1h")
    );
    let patience = Patience {
        wait: Duration::from_millis(100),
        ..PATIENCE
    };
    let providers = fake.providers(&script, patience);
    let image = image("a.test/x");
    let said = providers.ask_for_nobody(&image).await;
    assert_eq!(outline(&said), [(0, vec!["provider_timeout"])]);
    fs::write(fake.folder.join("go"), "").unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while outline(&providers.ask_for_nobody(&image).await) != [(1, vec![])] {
        assert!(Instant::now() < deadline, "the answer must come");
    }
    // The lookup that gave up was no fault of the plugin.
    assert_eq!(
        (fake.count("run"), fake.problems("provider_timeout")),
        (1, 0)
    );
}

#[tokio::test]
async fn those_in_the_queue_of_a_hung_plugin_do_not_hang_too() {
    let fake = Fake::new();
    let script = "echo run >> $DIR/log; exec sleep 100";
    let patience = Patience {
        run: Duration::from_secs(1),
        ..PATIENCE
    };
    let providers = fake.providers(script, patience);
    let images: Vec<ImageRef> = (0..40).map(|n| image(&format!("a{n}.test/x"))).collect();
    for said in join_all(images.iter().map(|image| providers.ask_for_nobody(image))).await {
        assert_eq!(outline(&said), [(0, vec!["provider_timeout"])]);
    }
    assert_eq!(fake.count("run"), AT_ONCE);
}

#[tokio::test]
async fn one_images_fault_is_not_anothers() {
    let fake = Fake::new();
    let script = format!(
        "read -r request; case $request in *bad*) exit 1;; esac; {}",
        answer("Image", "1h")
    );
    let providers = fake.providers(&script, PATIENCE);
    for (text, expected) in [
        ("a.test/bad", (0, vec!["provider_failed"])),
        ("a.test/good", (1, vec![])),
    ] {
        assert_eq!(
            outline(&providers.ask_for_nobody(&image(text)).await),
            [expected],
            "{text}"
        );
    }
}

/// Lets `seconds` pass at once. Time must run while a program does.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn refused_credentials_are_renewed_but_not_all_the_time() {
    let fake = Fake::new();
    let providers = fake.providers(&answer("Registry", "1h"), PATIENCE);
    let image = image("a.test/x");
    providers.ask_for_nobody(&image).await;
    pass(RENEW_AFTER.as_secs() - 20).await;
    providers.renew_for_nobody(&image, Duration::ZERO).await;
    assert_eq!(fake.count("run"), 1);
    pass(20).await;
    providers.renew_for_nobody(&image, Duration::ZERO).await;
    assert_eq!(fake.count("run"), 2);
    // Nor is what was asked for behind the refusal asked for once more.
    pass(600).await;
    providers
        .renew_for_nobody(&image, Duration::from_secs(700))
        .await;
    assert_eq!(fake.count("run"), 2);
}

#[tokio::test]
async fn an_answer_ends_with_its_time() {
    let fake = Fake::new();
    let providers = fake.providers(&answer("Registry", "10m"), PATIENCE);
    let image = image("a.test/x");
    for (seconds, runs) in [(0, 1), (580, 1), (20, 2)] {
        pass(seconds).await;
        providers.ask_for_nobody(&image).await;
        assert_eq!(fake.count("run"), runs);
    }
}
