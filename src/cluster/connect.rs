//! Finds the cluster as kubectl does, and connects to it.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::{
    Uri,
    header::{HeaderValue, USER_AGENT},
};
use kube::config::{Config, InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::{call::Server, refusal::CallError};

// Routes to a control plane that need longer are down; the calls' own limits are not shorter.
const CONNECT_TIME: Duration = Duration::from_secs(5);
const CHECK_TIME: Duration = Duration::from_secs(10);
const AGENT: &str = concat!("podrefresh/", env!("CARGO_PKG_VERSION"));

/// What a person said about which cluster to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// A kubeconfig file; it must exist.
    pub kubeconfig: Option<PathBuf>,
    /// A context in the kubeconfig, instead of its current one.
    pub context: Option<String>,
}

/// Where the way to the cluster was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// These kubeconfig files, the first to say something wins.
    Files(Vec<PathBuf>),
    /// The ServiceAccount of the pod that we run in.
    InCluster,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InCluster => f.write_str("the pod's service account"),
            Self::Files(files) if files.is_empty() => f.write_str("no file and no home"),
            Self::Files(files) => {
                let files: Vec<_> = files
                    .iter()
                    .map(|file| file.display().to_string())
                    .collect();
                write!(f, "{}", files.join(", "))
            }
        }
    }
}

/// A cluster that was found; nobody has talked to it yet.
#[derive(Clone)]
pub struct Connection {
    /// The client, which never repeats a request by itself.
    pub client: kube::Client,
    /// The namespace of the context or of our own pod.
    pub namespace: String,
    /// The API server's URL.
    pub url: String,
    /// Where it was found.
    pub origin: Origin,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connection({} by {})", self.url, self.origin)
    }
}

/// Why there is no way to a cluster. None of these heals by itself.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no kubeconfig and we are not in a pod.
    #[error("no cluster: no kubeconfig ({tried}), and not in a pod")]
    NoCluster {
        /// The kubeconfig files that do not exist.
        tried: Origin,
        /// Why this is no pod.
        source: Box<InClusterError>,
    },
    /// The kubeconfig makes no sense.
    #[error("no cluster in {origin}")]
    Kubeconfig {
        /// The files.
        origin: Origin,
        /// What is wrong with them.
        source: KubeconfigError,
    },
    /// What was found cannot be used (a CA that is none, an unsupported proxy).
    #[error("cannot use the cluster {url} found in {origin}")]
    Unusable {
        /// The API server's URL.
        url: String,
        /// Where it was found.
        origin: Origin,
        /// What is wrong.
        source: Box<kube::Error>,
    },
}

/// Finds the cluster: `choice`, else `$KUBECONFIG` or `~/.kube/config`, else the pod we run in.
///
/// Files of `$KUBECONFIG` that do not exist are passed over, as kubectl does; one that exists must make
/// sense. Must be called inside a tokio runtime.
pub async fn connect(choice: &Choice) -> Result<Connection, ConnectError> {
    let defaults = || default_files(env::var_os("KUBECONFIG"), env::home_dir());
    match &choice.kubeconfig {
        Some(file) => from_files(vec![file.clone()], choice.context.clone()).await,
        None => {
            let (files, missing): (Vec<_>, Vec<_>) =
                defaults().into_iter().partition(|file| file.exists());
            match (files.is_empty(), &choice.context) {
                (true, None) => in_cluster(missing),
                (true, context) => from_files(missing, context.clone()).await,
                (false, context) => from_files(files, context.clone()).await,
            }
        }
    }
}

async fn from_files(
    files: Vec<PathBuf>,
    context: Option<String>,
) -> Result<Connection, ConnectError> {
    match read(&files, context).await {
        Ok(config) => open(config, Origin::Files(files)),
        Err(source) => Err(ConnectError::Kubeconfig {
            origin: Origin::Files(files),
            source,
        }),
    }
}

fn in_cluster(missing: Vec<PathBuf>) -> Result<Connection, ConnectError> {
    match Config::incluster() {
        Ok(config) => open(config, Origin::InCluster),
        Err(source) => Err(ConnectError::NoCluster {
            tried: Origin::Files(missing),
            source: Box::new(source),
        }),
    }
}

fn default_files(variable: Option<std::ffi::OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    let listed: Vec<PathBuf> = variable
        .iter()
        .flat_map(env::split_paths)
        .filter(|file| !file.as_os_str().is_empty())
        .collect();
    if listed.is_empty() {
        home.map(|home| home.join(".kube/config"))
            .into_iter()
            .collect()
    } else {
        listed
    }
}

async fn read(files: &[PathBuf], context: Option<String>) -> Result<Config, KubeconfigError> {
    let mut merged = Kubeconfig::default();
    for file in files {
        merged = merged.merge(Kubeconfig::read_from(file as &Path)?)?;
    }
    let options = KubeConfigOptions {
        context,
        ..KubeConfigOptions::default()
    };
    Config::from_custom_kubeconfig(merged, &options).await
}

fn open(mut config: Config, origin: Origin) -> Result<Connection, ConnectError> {
    config.connect_timeout = Some(CONNECT_TIME);
    // A watch is silent for minutes; every other call has its own limit.
    config.read_timeout = None;
    // It repeats even an eviction that a budget has refused, up to 15 times.
    config.default_retry = false;
    config
        .headers
        .push((USER_AGENT, HeaderValue::from_static(AGENT)));
    if is_loopback(&config.cluster_url) {
        // The proxy variables never mean the machine itself, as in kubectl.
        config.proxy_url = None;
    }
    let url = config.cluster_url.to_string();
    let namespace = config.default_namespace.clone();
    match kube::Client::try_from(config) {
        Ok(client) => Ok(Connection {
            client,
            namespace,
            url,
            origin,
        }),
        Err(source) => Err(ConnectError::Unusable {
            url,
            origin,
            source: Box::new(source),
        }),
    }
}

fn is_loopback(url: &Uri) -> bool {
    let host = url.host().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = bare.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl Connection {
    /// Returns the API server for the calls of this crate.
    pub fn server(&self) -> Server {
        Server::new(self.client.clone())
    }

    /// Asks the API server whether it knows us: fails for expired and unknown credentials.
    ///
    /// Everybody may ask for the version, but not with credentials that are wrong.
    pub async fn check(&self) -> Result<(), CallError> {
        self.server().get("/version", CHECK_TIME).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::error::Chain;

    const KUBECONFIG: &str = r#"{"apiVersion":"v1","kind":"Config","current-context":"one",
        "clusters":[{"name":"here","cluster":{"server":"http://127.0.0.1:1"}}],
        "contexts":[{"name":"one","context":{"cluster":"here"}},
            {"name":"two","context":{"cluster":"here","namespace":"shop"}},
            {"name":"lost","context":{"cluster":"nowhere"}}]}"#;

    /// Connects by a file with this content; `None` is a file that does not exist.
    async fn by_file(content: Option<&str>, context: Option<&str>) -> Result<Connection, String> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let directory = env::temp_dir().join(format!("podrefresh-{:x}", fastrand::u64(..)));
        fs::create_dir(&directory).unwrap();
        let file = directory.join("config");
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let choice = Choice {
            kubeconfig: Some(file.clone()),
            context: context.map(str::to_owned),
        };
        let connection = connect(&choice).await;
        fs::remove_dir_all(&directory).unwrap();
        connection.map_err(|error| {
            let text = Chain(&error).to_string();
            text.replace(&*file.to_string_lossy(), "FILE")
        })
    }

    #[tokio::test]
    async fn a_context_decides_the_namespace() {
        let one = by_file(Some(KUBECONFIG), None).await.unwrap();
        assert_eq!(
            (&*one.namespace, &*one.url),
            ("default", "http://127.0.0.1:1/")
        );
        let two = by_file(Some(KUBECONFIG), Some("two")).await.unwrap();
        assert_eq!(two.namespace, "shop");
    }

    #[tokio::test]
    async fn an_error_names_the_file_and_what_is_wrong() {
        #[track_caller]
        fn check(found: Result<Connection, String>, expected: &str) {
            let error = found.unwrap_err();
            assert!(error.starts_with("no cluster in FILE: "), "{error}");
            assert!(error.contains(expected), "{error}");
        }
        check(by_file(None, None).await, "No such file");
        check(
            by_file(Some("{"), None).await,
            "failed to parse kubeconfig YAML",
        );
        check(
            by_file(Some("{}"), None).await,
            "failed to determine current context",
        );
        check(
            by_file(Some(KUBECONFIG), Some("three")).await,
            "failed to load current context: three",
        );
        check(
            by_file(Some(KUBECONFIG), Some("lost")).await,
            "cluster of context: nowhere",
        );
    }

    #[tokio::test]
    async fn nobody_at_the_other_end_is_said_in_one_line() {
        let nobody = by_file(Some(KUBECONFIG), None).await.unwrap();
        let error = nobody.check().await.unwrap_err();
        let text = Chain(&error).to_string();
        assert!(
            text.starts_with("the API server cannot be reached: "),
            "{text}"
        );
        assert!(text.contains("Connection refused"), "{text}");
        assert!(error.is_transient());
    }

    #[tokio::test]
    async fn a_cluster_behind_a_proxy_is_asked_through_it() {
        let proxied = KUBECONFIG.replace(
            "http://127.0.0.1:1\"",
            "https://192.0.2.1:6443\",\"proxy-url\":\"http://127.0.0.1:1\"",
        );
        let behind = by_file(Some(&proxied), None).await.unwrap();
        let text = Chain(&behind.check().await.unwrap_err()).to_string();
        assert!(text.contains("Connection refused"), "{text}");
    }

    #[test]
    fn the_variable_comes_before_the_home() {
        #[track_caller]
        fn check(variable: Option<&str>, home: Option<&str>, expected: &[&str]) {
            let found = default_files(variable.map(Into::into), home.map(Into::into));
            let expected: Vec<PathBuf> = expected.iter().map(Into::into).collect();
            assert_eq!(found, expected);
        }
        check(Some("/a:/b"), Some("/home/me"), &["/a", "/b"]);
        check(Some(":/a:"), Some("/home/me"), &["/a"]);
        check(Some(""), Some("/home/me"), &["/home/me/.kube/config"]);
        check(None, Some("/home/me"), &["/home/me/.kube/config"]);
        check(None, None, &[]);
    }

    #[test]
    fn only_this_machine_is_loopback() {
        #[track_caller]
        fn check(url: &'static str, expected: bool) {
            assert_eq!(is_loopback(&Uri::from_static(url)), expected, "{url}");
        }
        check("https://127.0.0.1:6443", true);
        check("https://127.8.0.1", true);
        check("https://[::1]:6443", true);
        check("https://localhost:6443", true);
        check("https://10.0.0.1:6443", false);
        check("https://localhost.example.com", false);
    }
}
