//! What forges send that keep packages beside code: GitHub, Gitea and Forgejo.

use serde::Deserialize;

use super::{Sender, Tags, Unreadable, parse, registry::authority};
use crate::policy::Push;

/// GitHub's registry of images.
const GHCR: &str = "ghcr.io";

/// GitHub's events `registry_package` and `package`, Gitea's event `package`.
#[derive(Deserialize)]
struct Notice {
    action: Option<String>,
    #[serde(alias = "registry_package")]
    package: Option<Package>,
    /// Some of GitHub's have it here, others in the package.
    package_version: Option<Version>,
}

#[derive(Deserialize)]
struct Package {
    name: Option<String>,
    /// Whose it is; a login at GitHub.
    namespace: Option<String>,
    owner: Option<Owner>,
    /// GitHub's.
    package_type: Option<String>,
    package_version: Option<Version>,
    /// Gitea's.
    #[serde(rename = "type")]
    kind: Option<String>,
    version: Option<String>,
    html_url: Option<String>,
}

#[derive(Deserialize)]
struct Owner {
    login: Option<String>,
}

#[derive(Deserialize)]
struct Version {
    /// `ghcr.io/acme/web:stable`, with nothing behind the colon where there is no tag.
    package_url: Option<String>,
    container_metadata: Option<Container>,
}

#[derive(Deserialize)]
struct Container {
    tag: Option<Tag>,
}

#[derive(Deserialize)]
struct Tag {
    name: Option<String>,
}

pub(super) fn package(body: &[u8], tags: &mut Tags) -> Result<(), Unreadable> {
    let notice: Notice = parse(Sender::Forge, body)?;
    let is_push = (notice.action.as_deref())
        .is_some_and(|action| ["published", "updated", "created"].contains(&action));
    let Some(package) = notice.package.filter(|_| is_push) else {
        return Ok(());
    };
    let kind = package.package_type.as_ref().or(package.kind.as_ref());
    if !kind.is_some_and(|kind| kind.eq_ignore_ascii_case("container")) {
        return Ok(());
    }
    match package.kind {
        Some(_) => gitea(&package, tags),
        None => github(notice.package_version, package, tags),
    }
    Ok(())
}

fn github(version: Option<Version>, package: Package, tags: &mut Tags) {
    let Some(version) = version.or(package.package_version) else {
        return;
    };
    let url = version.package_url.unwrap_or_default();
    let (path, tag) = url.rsplit_once(':').unwrap_or((&url, ""));
    let named = (version.container_metadata)
        .and_then(|container| container.tag)
        .and_then(|tag| tag.name);
    let Some(tag) = Some(tag.to_owned()).filter(|tag| !tag.is_empty()).or(named) else {
        return;
    };
    // Logins have upper-case letters, references do not.
    let path = path.to_ascii_lowercase();
    let repository = match path.split_once('/') {
        Some((GHCR, repository)) => repository.to_owned(),
        _ => {
            let owner = package.owner.and_then(|owner| owner.login);
            let owner = package.namespace.or(owner).unwrap_or_default();
            format!("{owner}/{}", package.name.unwrap_or_default()).to_ascii_lowercase()
        }
    };
    tags.add(Push::new(Some(GHCR), &repository, &tag));
}

/// Gitea names the version of a container by its tag, or by its digest where it has none.
fn gitea(package: &Package, tags: &mut Tags) {
    let version = package.version.as_deref().unwrap_or_default();
    if version.starts_with("sha256:") {
        return;
    }
    let owner = package.owner.as_ref().and_then(|it| it.login.as_deref());
    let name = package.name.as_deref().unwrap_or_default();
    let repository = format!("{}/{name}", owner.unwrap_or_default()).to_ascii_lowercase();
    let host = package.html_url.as_deref().and_then(authority);
    tags.add(Push::new(host.as_deref(), &repository, version));
}
