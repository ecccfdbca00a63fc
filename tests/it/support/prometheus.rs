//! Debian's Prometheus on a free port of 127.0.0.1, with a short memory.

use std::{
    fs,
    net::SocketAddr,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    folder::Folder,
    kube::eventually,
    skip::{self, Missing},
};

/// A running Prometheus; it ends with this value, also when the test fails.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    http: reqwest::Client,
    _folder: Folder,
}

/// Who is scraped, and as which pod.
pub(crate) struct Scraped<'a> {
    /// The admin port.
    pub(crate) admin: SocketAddr,
    /// The pod's name.
    pub(crate) pod: &'a str,
}

impl Prometheus {
    /// Starts one that scrapes these twice a second, with the labels that a PodMonitor gives, and evaluates the
    /// groups of `rules` as often.
    pub(crate) async fn start(scraped: &[Scraped<'_>], rules: &Value) -> Result<Self, Missing> {
        let program = skip::program("prometheus")?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = Folder::new();
        let targets: Vec<Value> = (scraped.iter())
            .map(|it| {
                json!({
                    "targets": [it.admin],
                    "labels": {"namespace": "podrefresh", "pod": it.pod, "container": "controller"},
                })
            })
            .collect();
        // JSON is YAML.
        let rules = folder.write("rules.yaml", &rules.to_string());
        let config = json!({
            "global": {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"},
            "rule_files": [rules],
            "scrape_configs": [{"job_name": "podrefresh", "static_configs": targets}],
        });
        let config = folder.write("prometheus.yaml", &config.to_string());
        let log = folder.path().join("log");
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        // From here on a panic ends it, too.
        let mut prometheus = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            _folder: folder,
        };
        prometheus.address = eventually("Prometheus to listen", || {
            let text = fs::read_to_string(&log).unwrap();
            let ended = prometheus.child.try_wait().unwrap();
            async move {
                assert!(ended.is_none(), "prometheus: {ended:?}\n{text}");
                listening(&text)
            }
        })
        .await;
        Ok(prometheus)
    }

    /// Asks its API, and returns what it answers; `None` while it cannot.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let answer = self.ask(path).await.ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// Asks for the value of an expression, and returns its series, or why it makes none.
    pub(crate) async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let expression: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let answer = self
            .ask(&format!("query?query={expression}"))
            .await
            .unwrap();
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"]["result"].as_array().unwrap().clone()),
            _ => Err(answer["error"].to_string()),
        }
    }

    async fn ask(&self, path: &str) -> reqwest::Result<Value> {
        let url = format!("http://{}/api/v1/{path}", self.address);
        let answer = self.http.get(url).send().await?.bytes().await?;
        Ok(serde_json::from_slice(&answer).unwrap_or_default())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns the address in the line of the log that says `msg="Listening on" address=127.0.0.1:40001`.
fn listening(log: &str) -> Option<SocketAddr> {
    let (_, rest) = log.split_once("\"Listening on\" address=")?;
    rest.lines().next()?.parse().ok()
}
