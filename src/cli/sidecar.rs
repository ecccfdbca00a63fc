//! The flags of `podrefresh sidecar`.

use std::{net::SocketAddr, time::Duration};

use clap::{ArgAction, Args};
use url::Url;

use super::{
    Registries,
    values::{address, duration, positive},
};
use crate::{app, policy::gate::Limits, registry::RegistryUrl, sidecar};

/// `podrefresh sidecar`.
#[derive(Debug, Clone, Args)]
pub struct Sidecar {
    /// Container of this pod to watch
    #[arg(
        long,
        env = "PODREFRESH_CONTAINER",
        value_name = "NAME",
        required_unless_present = "image_checker_watch_container"
    )]
    pub container: Option<String>,
    /// Registry to ask instead of the one that the image names
    #[arg(
        long,
        env = "PODREFRESH_REGISTRY_URL",
        value_name = "URL",
        conflicts_with = "registries_dir"
    )]
    pub registry_url: Option<RegistryUrl>,
    /// This pod's name, if neither POD_NAME nor the hostname is it
    #[arg(long, env = "PODREFRESH_POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
    /// This pod's namespace, if not that of its ServiceAccount or kubeconfig
    #[arg(long, env = "PODREFRESH_NAMESPACE")]
    pub namespace: Option<String>,
    /// How often the image is looked up
    #[arg(long, env = "PODREFRESH_POLL_INTERVAL", value_parser = positive, default_value = "5m")]
    pub poll_interval: Duration,
    /// Time between the two lookups that must agree before a digest is acted on
    #[arg(long, env = "PODREFRESH_CONFIRM_AFTER", value_parser = duration, default_value = "10s")]
    pub confirm_after: Duration,
    /// Time a new pod has to become Ready before it counts as failing
    #[arg(long, env = "PODREFRESH_PROGRESS_DEADLINE", value_parser = positive, default_value = "10m")]
    pub progress_deadline: Duration,
    /// Ask the API server for the restart as a dry run: nothing is restarted
    #[arg(
        long,
        env = "PODREFRESH_DRY_RUN",
        action = ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        default_value_t = false
    )]
    pub dry_run: bool,
    /// Where /livez and /metrics are served, in plain http (nowhere, if not given)
    #[arg(long, env = "PODREFRESH_ADMIN_ADDR", value_parser = address)]
    pub admin_addr: Option<SocketAddr>,
    /// How registries are asked.
    #[command(flatten)]
    pub registries: Registries,
    // The variables of kubernetes-pod-reloader, so that its manifests need no change but the image and the command.
    /// What kubernetes-pod-reloader calls --container
    #[arg(long, hide = true, env = "IMAGE_CHECKER_WATCH_CONTAINER")]
    pub image_checker_watch_container: Option<String>,
    /// What kubernetes-pod-reloader calls --registry-url
    #[arg(long, hide = true, env = "IMAGE_CHECKER_REGISTRY_URL", value_parser = web_api)]
    pub image_checker_registry_url: Option<WebApi>,
}

/// What the host of kubernetes-pod-reloader's web API is asked at, by the API that all registries have.
///
/// `None` for Docker Hub, whose web API has a host of its own: the image's registry is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebApi(Option<RegistryUrl>);

impl Sidecar {
    /// Returns what these flags ask for; `default_namespace` and `pod` are what the surroundings say.
    pub fn settings(&self, default_namespace: &str, pod: app::PodName) -> app::SidecarSettings {
        let namespace = self.namespace.as_deref().unwrap_or(default_namespace);
        let told = self.pod_name.clone().map(app::PodName::told);
        let older = self.image_checker_registry_url.clone();
        let mut registries = self.registries.settings();
        registries.endpoint = (self.registry_url.clone()).or_else(|| older.and_then(|it| it.0));
        app::SidecarSettings {
            namespace: namespace.to_owned(),
            pod: told.unwrap_or(pod),
            admin_addr: self.admin_addr,
            registries,
            watch: sidecar::Settings {
                container: (self.container.clone())
                    .or_else(|| self.image_checker_watch_container.clone())
                    .expect("one of both must be required"),
                poll_interval: self.poll_interval,
                limits: Limits {
                    confirm_after: self.confirm_after,
                    progress_deadline: self.progress_deadline,
                    // One sidecar restarts one owner; there is nothing to share out.
                    per_minute: 1,
                    per_namespace: None,
                    per_node: None,
                },
                dry_run: self.dry_run,
            },
        }
    }
}

/// Reads the address of a web API as kubernetes-pod-reloader takes it.
fn web_api(text: &str) -> Result<WebApi, String> {
    const ALLOWED: &str = "must be a URL such as https://registry.example/api/v1/repository";
    const HUB: [&str; 3] = ["hub.docker.com", "registry.hub.docker.com", "docker.io"];
    let mut url = Url::parse(text).map_err(|_| ALLOWED)?;
    if url.host_str().is_some_and(|host| HUB.contains(&host)) {
        return Ok(WebApi(None));
    }
    // Its path led to another API.
    url.set_path("");
    url.set_query(None);
    let url = url.as_str().parse().map_err(|_| ALLOWED)?;
    Ok(WebApi(Some(url)))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(flags: &[&str]) -> Result<app::SidecarSettings, clap::Error> {
        let line = ["podrefresh", "sidecar"].iter().chain(flags);
        let Command::Sidecar(flags) = Cli::try_parse_from(line)?.command else {
            unreachable!("the subcommand must be the sidecar")
        };
        Ok(flags.settings("shop", app::PodName::guessed("host".to_owned())))
    }

    #[test]
    fn the_older_variables_stand_behind_our_own() {
        let check = |flags: &[&str], container: &str| {
            assert_eq!(
                parse(flags).unwrap().watch.container,
                container,
                "{flags:?}"
            );
        };
        check(&["--container=app"], "app");
        check(&["--image-checker-watch-container=main"], "main");
        check(
            &["--image-checker-watch-container=main", "--container=app"],
            "app",
        );
        let missing = parse(&[]).unwrap_err().to_string();
        assert!(missing.contains("--container <NAME>"), "{missing}");
    }

    #[test]
    fn a_web_apis_host_is_asked_as_a_registry() {
        let check = |url: &str, expected: Option<&str>| {
            let flag = format!("--image-checker-registry-url={url}");
            let settings = parse(&["--container=app", &flag]).unwrap();
            let endpoint = settings.registries.endpoint.map(|it| it.to_string());
            assert_eq!(endpoint.as_deref(), expected, "{url}");
        };
        check(
            "https://domain.example/api/v1/repository/",
            Some("https://domain.example/v2/"),
        );
        check("http://127.0.0.1:5000", Some("http://127.0.0.1:5000/v2/"));
        check("https://registry.hub.docker.com/v2/repositories", None);
        let flags = ["--container=app", "--image-checker-registry-url=nonsense"];
        let refused = parse(&flags).unwrap_err().to_string();
        assert!(refused.contains("must be a URL such as"), "{refused}");
        let both = [
            "--container=app",
            "--image-checker-registry-url=https://older.example/api",
            "--registry-url=https://ours.example",
        ];
        let endpoint = parse(&both).unwrap().registries.endpoint.unwrap();
        assert_eq!(endpoint.to_string(), "https://ours.example/v2/");
    }

    #[test]
    fn what_is_told_outweighs_what_is_guessed() {
        let flags = ["--container=app", "--pod-name=web-1", "--namespace=zoo"];
        let settings = parse(&flags).unwrap();
        assert_eq!(settings.pod, app::PodName::told("web-1".to_owned()));
        assert_eq!(settings.namespace, "zoo");
        let settings = parse(&flags[..1]).unwrap();
        assert_eq!(settings.pod, app::PodName::guessed("host".to_owned()));
        assert_eq!(settings.namespace, "shop");
    }
}
