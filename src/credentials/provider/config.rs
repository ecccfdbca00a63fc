//! The kubelet's `CredentialProviderConfig`: which plugin is asked about which images, and how.

use std::{
    collections::HashSet,
    fmt, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, de::IgnoredAny};

use super::{
    attributes::{self, Attributes},
    invalid::{ConfigFault, PROTOCOLS, PluginFault, ProvidersError, VERSIONS},
};
use crate::{credentials::Scope, policy::go_duration};

/// One plugin, as it is configured.
pub(super) struct Plugin {
    pub(super) name: Arc<str>,
    pub(super) binary: PathBuf,
    images: Vec<Scope>,
    pub(super) default_keep: Duration,
    pub(super) protocol: &'static str,
    pub(super) args: Vec<String>,
    pub(super) env: Vec<(String, String)>,
    /// What it wants to know of a pod's account, if anything.
    pub(super) account: Option<Attributes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[expect(
    dead_code,
    reason = "what it is stands in the header; what else is here is a mistake"
)]
struct File {
    api_version: IgnoredAny,
    kind: IgnoredAny,
    #[serde(default)]
    providers: Vec<Written>,
}

/// Says what a file is before its fields are looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Header {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    name: String,
    #[serde(default)]
    match_images: Vec<String>,
    default_cache_duration: Option<String>,
    #[serde(default)]
    api_version: String,
    args: Option<Vec<String>>,
    env: Option<Vec<Variable>>,
    token_attributes: Option<attributes::Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

/// Reads the file at `path`, or all of a directory there, whose plugins lie in `folder`.
pub(super) fn open(path: &Path, folder: &Path) -> Result<Vec<Plugin>, ProvidersError> {
    let shown = |path: &Path| path.display().to_string().into();
    let unreadable = |path: &Path, source| ProvidersError::Unreadable {
        path: shown(path),
        source,
    };
    let malformed = |path: &Path, source| ProvidersError::Malformed {
        path: shown(path),
        source,
    };
    let (mut plugins, mut names) = (Vec::new(), HashSet::new());
    for file in files(path).map_err(|source| unreadable(path, source))? {
        let text = std::fs::read_to_string(&file).map_err(|source| unreadable(&file, source))?;
        let found = parse(&text, folder, &mut names);
        plugins.extend(found.map_err(|source| malformed(&file, source))?);
    }
    if plugins.is_empty() {
        return Err(malformed(path, ConfigFault::Empty));
    }
    for plugin in &plugins {
        check_binary(&plugin.binary).map_err(|source| ProvidersError::Binary {
            path: shown(&plugin.binary),
            source,
        })?;
    }
    Ok(plugins)
}

/// Returns the files to read: `path` itself, or those of that directory that end as the kubelet's do, in their order.
fn files(path: &Path) -> io::Result<Vec<PathBuf>> {
    if !std::fs::metadata(path)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
    let mut files = entries.collect::<io::Result<Vec<PathBuf>>>()?;
    let known = |path: &Path| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        matches!(extension, Some("json" | "yaml" | "yml")) && path.is_file()
    };
    files.retain(|path| known(path));
    files.sort();
    Ok(files)
}

fn check_binary(path: &Path) -> io::Result<()> {
    let metadata = std::fs::metadata(path)?;
    match metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
        true => Ok(()),
        false => Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it is not an executable file",
        )),
    }
}

/// Reads one file; `names` are those of the providers that were read before.
fn parse(
    text: &str,
    folder: &Path,
    names: &mut HashSet<String>,
) -> Result<Vec<Plugin>, ConfigFault> {
    // Without the excerpt that errors bring along: a plugin's variables may be secrets.
    let yaml =
        |error: serde_saphyr::Error| ConfigFault::Yaml(error.without_snippet().to_string().into());
    let header: Header = serde_saphyr::from_str(text).map_err(yaml)?;
    if header.kind != "CredentialProviderConfig" || !VERSIONS.contains(&&*header.api_version) {
        return Err(ConfigFault::Kind {
            kind: header.kind.into(),
            version: header.api_version.into(),
        });
    }
    let file: File = serde_saphyr::from_str(text).map_err(yaml)?;
    let read = |written: Written| {
        let name = written.name.clone();
        let plugin = match names.insert(name.clone()) {
            true => Plugin::read(written, folder),
            false => Err(PluginFault::Double),
        };
        plugin.map_err(|source| ConfigFault::Provider {
            name: name.into(),
            source,
        })
    };
    file.providers.into_iter().map(read).collect()
}

impl Plugin {
    /// Reads one provider by the kubelet's own rules.
    fn read(written: Written, folder: &Path) -> Result<Self, PluginFault> {
        let name = written.name;
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', ' ', '\0']) {
            return Err(PluginFault::Name);
        }
        let protocol = PROTOCOLS
            .iter()
            .find(|known| **known == written.api_version);
        let protocol = protocol.ok_or_else(|| PluginFault::Protocol(written.api_version.into()))?;
        if written.match_images.is_empty() {
            return Err(PluginFault::NoImages);
        }
        let scope = |pattern: &String| {
            Scope::parse(pattern).map_err(|source| PluginFault::Images {
                pattern: pattern.as_str().into(),
                source,
            })
        };
        let images = written
            .match_images
            .iter()
            .map(scope)
            .collect::<Result<_, _>>()?;
        let default = written.default_cache_duration.as_deref();
        let default = default.and_then(|text| go_duration::parse(text).ok());
        let default = default.and_then(|duration| Duration::try_from(duration).ok());
        let account = written.token_attributes;
        let account = account.map(|written| Attributes::read(written, protocol));
        let env = written.env.unwrap_or_default();
        Ok(Self {
            binary: folder.join(&name),
            name: name.into(),
            images,
            default_keep: default.ok_or(PluginFault::Duration)?,
            protocol,
            args: written.args.unwrap_or_default(),
            env: env.into_iter().map(|v| (v.name, v.value)).collect(),
            account: account.transpose()?,
        })
    }

    /// Says whether it is to be asked about images of `repository` at `registry`.
    pub(super) fn covers(&self, registry: &str, repository: &str) -> bool {
        self.images
            .iter()
            .any(|scope| scope.covers(registry, repository))
    }
}

impl fmt::Debug for Plugin {
    /// Shows neither arguments nor variables, which may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Plugin({} for {:?})", self.name, self.images)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str, folder: &Path) -> Result<Vec<Plugin>, ConfigFault> {
        super::parse(text, folder, &mut HashSet::new())
    }
    use crate::error::Chain;

    const PROVIDER: &str = r#"
apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
  - name: ecr-credential-provider
    matchImages:
      - "*.dkr.ecr.*.amazonaws.com"
      - registry.test:5000/team
    defaultCacheDuration: "12h"
    apiVersion: credentialprovider.kubelet.k8s.io/v1
    args: [get-credentials]
    env:
      - name: AWS_PROFILE
        value: puller
"#;

    #[test]
    fn the_kubelets_own_file_is_read() {
        let [plugin] = &parse(PROVIDER, Path::new("/plugins")).unwrap()[..] else {
            panic!("one provider")
        };
        assert_eq!(&*plugin.name, "ecr-credential-provider");
        assert_eq!(plugin.binary, Path::new("/plugins/ecr-credential-provider"));
        assert_eq!(plugin.default_keep, Duration::from_secs(12 * 3600));
        assert_eq!(plugin.protocol, "credentialprovider.kubelet.k8s.io/v1");
        assert_eq!(plugin.args, ["get-credentials"]);
        assert_eq!(
            plugin.env,
            [("AWS_PROFILE".to_owned(), "puller".to_owned())]
        );
        for (registry, repository, expected) in [
            ("1.dkr.ecr.eu-west-1.amazonaws.com", "app", true),
            ("ecr.amazonaws.com", "app", false),
            ("registry.test:5000", "team/app", true),
            ("registry.test:5000", "other/app", false),
            ("registry.test", "team/app", false),
        ] {
            assert_eq!(plugin.covers(registry, repository), expected, "{registry}");
        }
        assert!(!format!("{plugin:?}").contains("puller"));
    }

    #[test]
    fn json_and_the_older_versions_are_read() {
        let json = r#"{"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "CredentialProviderConfig",
            "providers": [{"name": "x", "matchImages": ["*"], "defaultCacheDuration": "0s",
            "apiVersion": "credentialprovider.kubelet.k8s.io/v1alpha1", "args": null}]}"#;
        assert_eq!(parse(json, Path::new("/")).unwrap().len(), 1);
    }

    /// Checks that the file with `from` replaced `to` is refused, in words that tell why.
    #[track_caller]
    fn check(from: &str, to: &str, expected: &str) {
        assert!(PROVIDER.contains(from), "{from}");
        let error = parse(&PROVIDER.replacen(from, to, 1), Path::new("/")).unwrap_err();
        let text = Chain(&error).to_string();
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("puller"), "{text}");
    }

    #[test]
    fn what_the_kubelet_refuses_is_refused() {
        check("CredentialProviderConfig", "Secret", "it is \"Secret\"");
        check(
            "k8s.io/v1\n",
            "k8s.io/v2\n",
            "kubelet.config.k8s.io/v1beta1",
        );
        check("providers:", "plugins:", "plugins");
        check("matchImages:", "matchImage:", "line 6");
        check("12h", "12", "`defaultCacheDuration` must be");
        check("12h", "-1s", "`defaultCacheDuration` must be");
        check("defaultCacheDuration: \"12h\"", "args: []", "args");
        check(
            "ider.kubelet.k8s.io/v1",
            "ider.kubelet.k8s.io/v3",
            "allowed are",
        );
        check(
            "registry.test:5000/team",
            "\"a b\"",
            "`matchImages` has \"a b\"",
        );
        for name in ["../sh", "..", "a b", "\"\""] {
            let name = format!("name: {name}\n");
            check(
                "name: ecr-credential-provider\n",
                &name,
                "`name` must be a file name",
            );
        }
        let more = "env: []\n  - name: ecr-credential-provider\n    env:";
        check("env:", more, "only once");
    }

    #[test]
    fn what_it_wants_to_know_of_accounts_is_read_or_refused() {
        let with = |rest: &str| {
            format!("tokenAttributes: {{serviceAccountTokenAudience: x, {rest}}}\n    env:")
        };
        let sound = with("cacheType: Token, requireServiceAccount: true");
        let text = PROVIDER.replacen("env:", &sound, 1);
        let plugins = parse(&text, Path::new("/")).unwrap();
        assert!(plugins[0].account.is_some());
        assert!(
            parse(PROVIDER, Path::new("/")).unwrap()[0]
                .account
                .is_none()
        );
        let wrong = with("cacheType: Pod");
        check(
            "env:",
            &wrong,
            "`tokenAttributes`: `cacheType` is \"Pod\", allowed are",
        );
        check("env:", &with("cacheTypes: Token"), "cacheTypes");
    }

    #[test]
    fn a_directory_is_read_in_the_order_of_its_files() {
        let folder = std::env::temp_dir().join(format!("podrefresh-{}", fastrand::u64(..)));
        std::fs::create_dir(&folder).unwrap();
        let write = |file: &str, name: &str| {
            let text = PROVIDER.replace("ecr-credential-provider", name);
            std::fs::write(folder.join(file), text).unwrap();
        };
        let open = || {
            let plugins = open(&folder, Path::new("/bin"));
            let names = plugins.map(|all| all.iter().map(|it| it.name.to_string()).collect());
            names.map_err(|error| Chain(&error).to_string())
        };
        let found: Result<Vec<String>, String> = open();
        assert!(found.unwrap_err().ends_with("must not be empty"));
        for (file, name) in [("b.yml", "cat"), ("a.yaml", "sh"), ("c.txt", "none")] {
            write(file, name);
        }
        assert_eq!(open().unwrap(), ["sh", "cat"]);
        write("d.json", "sh");
        let error = open().unwrap_err();
        assert!(
            error.contains("d.json") && error.ends_with("only once"),
            "{error}"
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_program_must_be_there_and_executable() {
        check_binary(Path::new("/bin/sh")).unwrap();
        for path in ["/nonexistent", "/bin", "/etc/passwd"] {
            assert!(check_binary(Path::new(path)).is_err(), "{path}");
        }
    }
}
