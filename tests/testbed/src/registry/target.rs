//! Which requests are meant: the filter that faults and counters share.

use hyper::Method;

/// What a request path of the registry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `/v2/`: is this a registry, and which authentication does it want?
    Base,
    /// `/v2/<repository>/manifests/<reference>`.
    Manifest,
    /// `/v2/<repository>/blobs/<digest>`.
    Blob,
    /// `/v2/<repository>/blobs/uploads/…`.
    Upload,
    /// `/v2/<repository>/tags/list`.
    Tags,
    /// The token endpoint, `/token`.
    Token,
    /// Any other path.
    Other,
}

/// A request path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) kind: Kind,
    /// Empty where the path names none.
    pub(super) repository: String,
    /// Tag, digest or upload id; empty where the path names none.
    pub(super) reference: String,
}

impl Route {
    pub(super) fn of(path: &str) -> Self {
        let route = |kind, repository: &str, reference: &str| Self {
            kind,
            repository: repository.into(),
            reference: reference.into(),
        };
        if path == "/token" {
            return route(Kind::Token, "", "");
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return route(
                if path == "/v2" {
                    Kind::Base
                } else {
                    Kind::Other
                },
                "",
                "",
            );
        };
        if rest.is_empty() {
            return route(Kind::Base, "", "");
        }
        if let Some(repository) = rest.strip_suffix("/tags/list") {
            return route(Kind::Tags, repository, "");
        }
        if let Some(repository) = rest.strip_suffix("/blobs/uploads") {
            return route(Kind::Upload, repository, "");
        }
        let markers = [
            (Kind::Upload, "/blobs/uploads/"),
            (Kind::Blob, "/blobs/"),
            (Kind::Manifest, "/manifests/"),
        ];
        for (kind, marker) in markers {
            if let Some((repository, reference)) = rest.rsplit_once(marker) {
                return route(kind, repository, reference);
            }
        }
        route(Kind::Other, "", "")
    }
}

/// A set of requests: all of them until it is narrowed.
///
/// ```text
/// Target::manifests().repository("team/app").method(Method::HEAD)
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    kind: Option<Kind>,
    method: Option<Method>,
    repository: Option<String>,
    reference: Option<String>,
    outside: bool,
}

/// How the testbed's own client names itself in `User-Agent`.
pub(super) const OWN_AGENT: &str = "testbed";

impl Target {
    /// Returns the set of all requests.
    pub fn all() -> Self {
        Self::default()
    }

    /// Returns the set of requests of one kind.
    pub fn kind(kind: Kind) -> Self {
        Self {
            kind: Some(kind),
            ..Self::default()
        }
    }

    /// Returns the set of requests for manifests.
    pub fn manifests() -> Self {
        Self::kind(Kind::Manifest)
    }

    /// Returns the set of requests to the token endpoint.
    pub fn tokens() -> Self {
        Self::kind(Kind::Token)
    }

    /// Keeps only the requests with `method`.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Keeps only the requests for `repository`.
    #[must_use]
    pub fn repository(mut self, repository: &str) -> Self {
        self.repository = Some(repository.into());
        self
    }

    /// Keeps only the requests for `reference`, a tag or a digest.
    #[must_use]
    pub fn reference(mut self, reference: &str) -> Self {
        self.reference = Some(reference.into());
        self
    }

    /// Leaves out the requests of the testbed itself: the kubelet's pulls and pushes by its client.
    #[must_use]
    pub fn outside(mut self) -> Self {
        self.outside = true;
        self
    }

    pub(super) fn matches(&self, method: &Method, route: &Route, agent: &str) -> bool {
        let own = self.outside && agent == OWN_AGENT;
        !own && self.kind.is_none_or(|kind| kind == route.kind)
            && self.method.as_ref().is_none_or(|wanted| wanted == method)
            && self
                .repository
                .as_ref()
                .is_none_or(|wanted| *wanted == route.repository)
            && self
                .reference
                .as_ref()
                .is_none_or(|wanted| *wanted == route.reference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(path: &str, kind: Kind, repository: &str, reference: &str) {
        let expected = Route {
            kind,
            repository: repository.into(),
            reference: reference.into(),
        };
        assert_eq!(Route::of(path), expected);
    }

    #[test]
    fn a_repository_may_have_many_parts() {
        check(
            "/v2/a/b/c/manifests/latest",
            Kind::Manifest,
            "a/b/c",
            "latest",
        );
        check(
            "/v2/app/manifests/sha256:00",
            Kind::Manifest,
            "app",
            "sha256:00",
        );
        check("/v2/app/blobs/sha256:00", Kind::Blob, "app", "sha256:00");
    }

    #[test]
    fn uploads_are_not_blobs() {
        check("/v2/app/blobs/uploads/", Kind::Upload, "app", "");
        check("/v2/app/blobs/uploads", Kind::Upload, "app", "");
        check("/v2/app/blobs/uploads/7", Kind::Upload, "app", "7");
    }

    #[test]
    fn the_rest_has_its_own_kinds() {
        check("/v2/", Kind::Base, "", "");
        check("/v2", Kind::Base, "", "");
        check("/v2/app/tags/list", Kind::Tags, "app", "");
        check("/token", Kind::Token, "", "");
        check("/v1/x", Kind::Other, "", "");
    }

    #[test]
    fn every_narrowing_must_hold() {
        let route = Route::of("/v2/app/manifests/latest");
        let target = Target::manifests()
            .repository("app")
            .reference("latest")
            .method(Method::HEAD);
        assert!(target.matches(&Method::HEAD, &route, ""));
        assert!(!target.matches(&Method::GET, &route, ""));
        assert!(
            !target
                .clone()
                .repository("other")
                .matches(&Method::HEAD, &route, "")
        );
        assert!(
            !target
                .clone()
                .reference("v1")
                .matches(&Method::HEAD, &route, "")
        );
        assert!(
            !Target::all()
                .outside()
                .matches(&Method::GET, &route, OWN_AGENT)
        );
        assert!(
            Target::all()
                .outside()
                .matches(&Method::GET, &route, "curl/8")
        );
        assert!(Target::all().matches(&Method::GET, &Route::of("/token"), OWN_AGENT));
    }
}
