//! Docker configs put together: which of their credentials fit an image, and in which order.

use super::{Config, Credential, Entry, Origin, Scope, Source, candidates::MOST_CREDENTIALS};

/// The credentials of several docker configs for one image, in the kubelet's order of preference.
///
/// Of each config it keeps only what may be tried: a secret may hold thousands of entries that fit.
#[derive(Debug)]
pub(super) struct Keyring<'i> {
    registry: &'i str,
    repository: &'i str,
    fitting: Best,
    /// Those under docker's own key, which serve at Docker Hub when nothing else does.
    hub: Best,
}

/// The first credentials by their keys, each once.
#[derive(Debug, Default)]
struct Best(Vec<(Scope, Origin, Credential)>);

impl<'i> Keyring<'i> {
    /// Returns an empty ring for images of `repository` at `registry`.
    pub(super) fn new(registry: &'i str, repository: &'i str) -> Self {
        Self {
            registry,
            repository,
            fitting: Best::default(),
            hub: Best::default(),
        }
    }

    /// Adds the credentials of one more config; of equal keys, those added first are tried first.
    pub(super) fn add(&mut self, origin: &Origin, config: &Config) {
        let entries = config.entries.iter();
        let fits = |entry: &&Entry| entry.scope.covers(self.registry, self.repository);
        self.fitting.add(origin, entries.clone().filter(fits));
        if self.registry == "docker.io" {
            let hub = entries.filter(|entry| entry.scope.is_docker_hub());
            self.hub.add(origin, hub);
        }
    }

    /// Returns the credentials, the best first.
    pub(super) fn into_found(self) -> impl Iterator<Item = (Source, Credential)> {
        let best = match self.fitting.0.is_empty() {
            true => self.hub,
            false => self.fitting,
        };
        (best.0.into_iter())
            .map(|(scope, origin, credential)| (Source::Entry(origin, scope), credential))
    }
}

impl Best {
    fn add<'c>(&mut self, origin: &'c Origin, entries: impl Iterator<Item = &'c Entry>) {
        let known = self.0.iter().map(|(scope, origin, it)| (scope, origin, it));
        let new = entries.map(|entry| (&entry.scope, origin, &entry.credential));
        let mut all: Vec<_> = known.chain(new).collect();
        // The kubelet sorts all keys of all of a pod's secrets backwards, which puts a longer path
        // before a shorter one; a stable sort keeps the secrets' order for equal keys.
        all.sort_by(|a, b| b.0.key().cmp(a.0.key()));
        let mut best: Vec<(&Scope, &Origin, &Credential)> = Vec::new();
        for one in all {
            if best.len() == MOST_CREDENTIALS {
                break;
            }
            if best.iter().all(|(.., known)| *known != one.2) {
                best.push(one);
            }
        }
        let best = best.into_iter();
        self.0 = best
            .map(|(scope, origin, it)| (scope.clone(), origin.clone(), it.clone()))
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// Returns what a ring for `image` finds in one config per list of keys; each entry's password is `<config>/<key>`.
    fn found(configs: &[&[&str]], image: &str) -> Vec<String> {
        let (registry, repository) = image.split_once('/').unwrap();
        let mut ring = Keyring::new(registry, repository);
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
        let passwords = ring.into_found().map(|(_, credential)| match credential {
            Credential::Basic { password, .. } => password.into(),
            other => format!("{other:?}"),
        });
        passwords.collect()
    }

    #[track_caller]
    fn check(configs: &[&[&str]], image: &str, expected: &[&str]) {
        assert_eq!(found(configs, image), expected);
    }

    #[test]
    fn of_any_number_of_keys_the_best_16_are_kept() {
        // All of them are one key, told apart by the query that does not count.
        let many: Vec<String> = (0..20_000).map(|n| format!("ghcr.io?{n:05}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let all = found(&[&many, &["ghcr.io/org"], &many], "ghcr.io/org/app");
        assert_eq!(all.len(), 16);
        assert_eq!(all[..2], ["1/ghcr.io/org", "0/ghcr.io?00000"]);
        assert_eq!(all[15], "0/ghcr.io?00014");
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
