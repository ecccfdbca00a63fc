//! The kinds of objects the server knows, by group, version and plural name.

use std::fmt;

/// One served kind: where it lives in URLs and what can be done to it.
#[derive(Clone, Copy)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: &'static str,
    /// Version within the group.
    pub version: &'static str,
    /// Kind as objects spell it, `Pod`.
    pub kind: &'static str,
    /// Name in URLs, `pods`.
    pub plural: &'static str,
    /// Name of one, `pod`.
    pub singular: &'static str,
    /// Whether objects live in a namespace.
    pub namespaced: bool,
    /// Abbreviations kubectl takes.
    pub short_names: &'static [&'static str],
    /// Subresources that are served.
    pub subresources: &'static [&'static str],
    /// Whether `kubectl get all` shows it.
    pub in_all: bool,
    /// Whether `metadata.generation` counts changes of the specification.
    pub generation: bool,
    /// Whether it is stored; reviews are only answered.
    pub stored: bool,
    /// Whether there can never be one: clients may look, but what it would do is not modelled.
    pub always_empty: bool,
}

impl Resource {
    const fn new(
        group: &'static str,
        version: &'static str,
        kind: &'static str,
        plural: &'static str,
        singular: &'static str,
    ) -> Self {
        Self {
            group,
            version,
            kind,
            plural,
            singular,
            namespaced: true,
            short_names: &[],
            subresources: &[],
            in_all: false,
            generation: false,
            stored: true,
            always_empty: false,
        }
    }

    const fn cluster(mut self) -> Self {
        self.namespaced = false;
        self
    }

    const fn short(mut self, names: &'static [&'static str]) -> Self {
        self.short_names = names;
        self
    }

    const fn subs(mut self, names: &'static [&'static str]) -> Self {
        self.subresources = names;
        self
    }

    const fn in_all(mut self) -> Self {
        self.in_all = true;
        self
    }

    const fn generation(mut self) -> Self {
        self.generation = true;
        self
    }

    const fn always_empty(mut self) -> Self {
        self.always_empty = true;
        self
    }

    const fn review(mut self) -> Self {
        self.stored = false;
        self
    }

    /// Returns `apiVersion` as objects spell it: `v1`, `apps/v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Returns the name that messages use: `pods`, `deployments.apps`.
    pub fn qualified(&self) -> String {
        Self::qualify(self.plural, self.group)
    }

    /// Returns the kind as messages of validation use it: `Pod`, `Deployment.apps`.
    pub fn qualified_kind(&self) -> String {
        Self::qualify(self.kind, self.group)
    }

    fn qualify(name: &str, group: &str) -> String {
        if group.is_empty() {
            name.to_owned()
        } else {
            format!("{name}.{group}")
        }
    }

    /// Returns the resource whose storage holds these objects: both Event APIs share one.
    pub fn storage(&'static self) -> &'static Self {
        if *self == EVENTS_V1 { &EVENTS } else { self }
    }

    /// Returns the plural, which is enough to tell the stored resources apart.
    pub(crate) fn storage_name(&self) -> &'static str {
        self.plural
    }

    /// Says whether the resource has the subresource.
    pub fn has(&self, subresource: &str) -> bool {
        self.subresources.contains(&subresource)
    }
}

impl PartialEq for Resource {
    fn eq(&self, other: &Self) -> bool {
        self.plural == other.plural && self.group == other.group
    }
}

impl Eq for Resource {}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.qualified())
    }
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const AUTHN: &str = "authentication.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

macro_rules! resources {
    ($($(#[$doc:meta])* $name:ident = $value:expr;)*) => {
        $($(#[$doc])* pub static $name: Resource = $value;)*

        /// Every resource the server knows, in the order discovery lists them.
        pub static ALL: &[&Resource] = &[$(&$name),*];
    };
}

resources! {
    /// Core ConfigMaps.
    CONFIG_MAPS = Resource::new("", "v1", "ConfigMap", "configmaps", "configmap").short(&["cm"]);
    /// Core Endpoints.
    ENDPOINTS = Resource::new("", "v1", "Endpoints", "endpoints", "endpoints").short(&["ep"]);
    /// Core Events; `events.k8s.io` shows the same objects in its own shape.
    EVENTS = Resource::new("", "v1", "Event", "events", "event").short(&["ev"]);
    /// LimitRanges, which `kubectl describe namespace` looks for.
    LIMIT_RANGES = Resource::new("", "v1", "LimitRange", "limitranges", "limitrange").short(&["limits"]).always_empty();
    /// Namespaces.
    NAMESPACES = Resource::new("", "v1", "Namespace", "namespaces", "namespace")
        .cluster().short(&["ns"]).subs(&["finalize", "status"]);
    /// Nodes.
    NODES = Resource::new("", "v1", "Node", "nodes", "node")
        .cluster().short(&["no"]).subs(&["status"]);
    /// Pods.
    PODS = Resource::new("", "v1", "Pod", "pods", "pod").short(&["po"]).in_all().generation()
        .subs(&["binding", "ephemeralcontainers", "eviction", "log", "status"]);
    /// ReplicationControllers.
    REPLICATION_CONTROLLERS =
        Resource::new("", "v1", "ReplicationController", "replicationcontrollers", "replicationcontroller")
            .short(&["rc"]).in_all().generation().subs(&["scale", "status"]);
    /// ResourceQuotas, which `kubectl describe namespace` looks for.
    RESOURCE_QUOTAS =
        Resource::new("", "v1", "ResourceQuota", "resourcequotas", "resourcequota").short(&["quota"]).always_empty();
    /// Secrets.
    SECRETS = Resource::new("", "v1", "Secret", "secrets", "secret");
    /// ServiceAccounts.
    SERVICE_ACCOUNTS = Resource::new("", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount")
        .short(&["sa"]).subs(&["token"]);
    /// Services.
    SERVICES = Resource::new("", "v1", "Service", "services", "service")
        .short(&["svc"]).in_all().subs(&["status"]);
    /// DaemonSets.
    DAEMON_SETS = Resource::new("apps", "v1", "DaemonSet", "daemonsets", "daemonset")
        .short(&["ds"]).in_all().generation().subs(&["status"]);
    /// Deployments.
    DEPLOYMENTS = Resource::new("apps", "v1", "Deployment", "deployments", "deployment")
        .short(&["deploy"]).in_all().generation().subs(&["scale", "status"]);
    /// ReplicaSets.
    REPLICA_SETS = Resource::new("apps", "v1", "ReplicaSet", "replicasets", "replicaset")
        .short(&["rs"]).in_all().generation().subs(&["scale", "status"]);
    /// StatefulSets.
    STATEFUL_SETS = Resource::new("apps", "v1", "StatefulSet", "statefulsets", "statefulset")
        .short(&["sts"]).in_all().generation().subs(&["scale", "status"]);
    /// ControllerRevisions: the templates a StatefulSet or DaemonSet has had.
    CONTROLLER_REVISIONS =
        Resource::new("apps", "v1", "ControllerRevision", "controllerrevisions", "controllerrevision");
    /// CronJobs.
    CRON_JOBS = Resource::new("batch", "v1", "CronJob", "cronjobs", "cronjob")
        .short(&["cj"]).in_all().generation().subs(&["status"]);
    /// Jobs.
    JOBS = Resource::new("batch", "v1", "Job", "jobs", "job").in_all().generation().subs(&["status"]);
    /// PodDisruptionBudgets.
    POD_DISRUPTION_BUDGETS =
        Resource::new("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget")
            .short(&["pdb"]).generation().subs(&["status"]);
    /// Leases.
    LEASES = Resource::new("coordination.k8s.io", "v1", "Lease", "leases", "lease");
    /// Events as `events.k8s.io` shows them.
    EVENTS_V1 = Resource::new("events.k8s.io", "v1", "Event", "events", "event").short(&["ev"]);
    /// EndpointSlices.
    ENDPOINT_SLICES = Resource::new("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice")
        .generation();
    /// NetworkPolicies.
    NETWORK_POLICIES = Resource::new("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "networkpolicy")
        .short(&["netpol"]).generation();
    /// MutatingWebhookConfigurations.
    MUTATING_WEBHOOKS = Resource::new(
        ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration",
    ).cluster().generation();
    /// ValidatingWebhookConfigurations.
    VALIDATING_WEBHOOKS = Resource::new(
        ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "validatingwebhookconfiguration",
    ).cluster().generation();
    /// ClusterRoles.
    CLUSTER_ROLES = Resource::new(RBAC, "v1", "ClusterRole", "clusterroles", "clusterrole").cluster();
    /// ClusterRoleBindings.
    CLUSTER_ROLE_BINDINGS =
        Resource::new(RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding").cluster();
    /// Roles.
    ROLES = Resource::new(RBAC, "v1", "Role", "roles", "role");
    /// RoleBindings.
    ROLE_BINDINGS = Resource::new(RBAC, "v1", "RoleBinding", "rolebindings", "rolebinding");
    /// SelfSubjectReviews: who am I?
    SELF_SUBJECT_REVIEWS =
        Resource::new(AUTHN, "v1", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview").cluster().review();
    /// TokenReviews: whose token is this?
    TOKEN_REVIEWS = Resource::new(AUTHN, "v1", "TokenReview", "tokenreviews", "tokenreview").cluster().review();
    /// SelfSubjectAccessReviews: may I?
    SELF_SUBJECT_ACCESS_REVIEWS = Resource::new(
        AUTHZ, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview",
    ).cluster().review();
    /// SelfSubjectRulesReviews: what may I?
    SELF_SUBJECT_RULES_REVIEWS = Resource::new(
        AUTHZ, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview",
    ).cluster().review();
    /// SubjectAccessReviews: may they?
    SUBJECT_ACCESS_REVIEWS = Resource::new(
        AUTHZ, "v1", "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview",
    ).cluster().review();
}

/// Returns the resource at a URL's group, version and plural.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Resource> {
    ALL.iter()
        .copied()
        .find(|r| r.group == group && r.version == version && r.plural == plural)
}

/// Returns the resource of an object's `apiVersion` and `kind`.
pub fn of_kind(api_version: &str, kind: &str) -> Option<&'static Resource> {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    ALL.iter()
        .copied()
        .find(|r| r.group == group && r.version == version && r.kind == kind)
}

/// Says whether any resource is served in the group and version.
pub fn has_group_version(group: &str, version: &str) -> bool {
    ALL.iter().any(|r| r.group == group && r.version == version)
}
