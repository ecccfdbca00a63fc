//! Docker configs put together: which of their credentials fit an image, and in which order.

use super::{Config, Credential, Origin, Scope, Source};

/// The credentials of several docker configs, in the kubelet's order of preference.
#[derive(Debug, Default)]
pub(super) struct Keyring {
    entries: Vec<(Scope, Origin, Credential)>,
}

impl Keyring {
    /// Adds the credentials of one more config; of equal keys, those added first are tried first.
    pub(super) fn add(&mut self, origin: &Origin, config: &Config) {
        let new = config.entries.iter().cloned();
        let new = new.map(|entry| (entry.scope, origin.clone(), entry.credential));
        self.entries.extend(new);
        // The kubelet sorts all keys of all of a pod's secrets backwards, which puts a longer path
        // before a shorter one; a stable sort keeps the secrets' order for equal keys.
        self.entries.sort_by(|a, b| b.0.key().cmp(a.0.key()));
    }

    /// Returns the credentials for images of `repository` at `registry`, the best first.
    pub(super) fn matching(&self, registry: &str, repository: &str) -> Vec<(Source, Credential)> {
        let found = self.select(|scope| scope.covers(registry, repository));
        if found.is_empty() && registry == "docker.io" {
            return self.select(Scope::is_docker_hub);
        }
        found
    }

    fn select(&self, fits: impl Fn(&Scope) -> bool) -> Vec<(Source, Credential)> {
        self.entries
            .iter()
            .filter(|(scope, ..)| fits(scope))
            .map(|(scope, origin, credential)| {
                let source = Source::Entry(origin.clone(), scope.clone());
                (source, credential.clone())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// Builds a ring of one config per list of keys; the password of each entry is `<config>/<key>`.
    fn keyring(configs: &[&[&str]]) -> Keyring {
        let mut ring = Keyring::default();
        for (index, keys) in configs.iter().enumerate() {
            let auths: Map<_, _> = keys
                .iter()
                .map(|key| {
                    let entry = json!({"username": "u", "password": format!("{index}/{key}")});
                    ((*key).to_owned(), entry)
                })
                .collect();
            let config = json!({ "auths": auths }).to_string();
            let origin = Origin::File(std::path::Path::new("config.json").into());
            ring.add(
                &origin,
                &Config::from_config_json(config.as_bytes()).unwrap(),
            );
        }
        ring
    }

    #[track_caller]
    fn check(configs: &[&[&str]], image: &str, expected: &[&str]) {
        let (registry, repository) = image.split_once('/').unwrap();
        let found = keyring(configs).matching(registry, repository);
        let found: Vec<String> = found
            .into_iter()
            .map(|(_, credential)| match credential {
                Credential::Basic { password, .. } => password.into(),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn longer_paths_come_first() {
        check(
            &[&["ghcr.io", "ghcr.io/org/app", "ghcr.io/org", "quay.io"]],
            "ghcr.io/org/app",
            &["0/ghcr.io/org/app", "0/ghcr.io/org", "0/ghcr.io"],
        );
    }

    #[test]
    fn globs_come_behind_plain_hosts() {
        check(
            &[&["*.azurecr.io", "shop.azurecr.io", "*.azurecr.io/app"]],
            "shop.azurecr.io/app",
            &["0/shop.azurecr.io", "0/*.azurecr.io/app", "0/*.azurecr.io"],
        );
    }

    #[test]
    fn all_secrets_share_one_order_and_equal_keys_keep_theirs() {
        check(
            &[&["ghcr.io"], &["ghcr.io/org", "https://ghcr.io"]],
            "ghcr.io/org/app",
            &["1/ghcr.io/org", "0/ghcr.io", "1/https://ghcr.io"],
        );
    }

    #[test]
    fn docker_hub_has_three_spellings() {
        for key in [
            "docker.io",
            "index.docker.io",
            "https://index.docker.io/v1/",
        ] {
            check(
                &[&[key, "ghcr.io"]],
                "docker.io/library/nginx",
                &[&format!("0/{key}")],
            );
        }
        check(&[&["docker.io/org"]], "docker.io/library/nginx", &[]);
    }

    #[test]
    fn dockers_key_serves_only_where_nothing_else_does() {
        check(
            &[&["docker.io", "https://index.docker.io/v1/"]],
            "docker.io/library/nginx",
            &["0/docker.io"],
        );
        check(&[&["https://index.docker.io/v1/"]], "ghcr.io/org/app", &[]);
    }
}
