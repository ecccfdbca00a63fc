//! An in-process Kubernetes API server with its controllers, a kubelet and a registry.
//!
//! Tests of a Kubernetes program need a cluster that answers as a real one, fails on demand and starts in
//! milliseconds. [`Cluster`] is the API server; [`controllers`], [`kubelet`] and [`registry`] make it live:
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
//! let cluster = testbed::Cluster::start().await?;
//! let _life = testbed::Life::start(cluster.api(), testbed::kubelet::Options::default()).await?;
//! std::fs::write("kubeconfig", cluster.kubeconfig())?;
//! # Ok(())
//! # }
//! ```
//!
//! Answers, bodies and the framing of streams are those of Kubernetes 1.36, as seen over the wire.
//!
//! # What the API server models
//!
//! - HTTPS over HTTP/1.1 and h2, bearer tokens (the administrator's and ServiceAccounts'), `kubectl --as`, RBAC from the
//!   stored roles and bindings, the discovery documents, and of OpenAPI v3 what kubectl needs to create and apply.
//! - Namespaces, nodes, pods, workloads, Jobs, PodDisruptionBudgets, Leases, Events in both APIs (one storage), Secrets,
//!   ConfigMaps, ServiceAccounts, Services, RBAC, webhook configurations and a few more: see [`api::resource`].
//! - One revision counter; lists with pages, selectors and old revisions; watches with initial events, bookmarks, the
//!   coming and going of objects that a selector chooses, and 410 once history is forgotten; Tables and metadata alone.
//! - Create, update, JSON patch, merge patch, strategic merge patch, server-side apply, delete with preconditions, grace,
//!   finalizers and propagation, `status`, `scale`, `binding`, `token`; dry runs of all of them.
//! - Evictions with preconditions and budgets, which are spent at once.
//! - Mutating and validating webhooks on create and update: rules, selectors, matchConditions, timeouts, failure policies,
//!   reinvocation, warnings, TLS against the `caBundle`, one h2 connection for all reviews of a place.
//! - The defaults, admission plugins and validation that clients of pods and workloads see.
//! - A [journal] of all requests and [faults] to switch on.
//!
//! # What it does not model
//!
//! - *managedFields*: no object has any. Server-side apply knows what was applied before, so it conflicts and removes
//!   as it should between appliers, but other writes own nothing.
//! - *Schemas*: unknown fields are stored, not dropped, and `fieldValidation` is checked for Evictions alone. Validation
//!   covers names, labels, containers, selectors, Leases, Events and webhook registrations.
//! - *YAML and protobuf*: bodies and answers are JSON. Protobuf bodies are read for the kinds `kubectl create` sends.
//! - *matchConditions* with the authorizer, optional fields or functions of Kubernetes' own (refused when they are
//!   registered), webhooks on delete, redirects, client certificates.
//! - *Priority and fairness, audit, quotas, admission policies, CRDs, aggregated APIs, exec, attach, port-forward,
//!   proxies*. Pod logs are one line. Only one version of each API is served, so conversion does not exist.
//! - *The watch cache*: there is one history. After [`Cluster::compact_history`] old continue tokens answer 410 for every
//!   resource, where a real server may still serve some of them.
//! - *Controllers' leisure*: the ServiceAccount `default` and the ConfigMap `kube-root-ca.crt` are there with their namespace.
//!
//! A request for a part of Kubernetes that is not modelled answers 501 and is remembered;
//! [`Cluster::assert_clean`] fails a test that made one.

pub mod api;
pub mod client;
mod cluster;
pub mod controllers;
pub mod faults;
pub mod images;
pub mod journal;
pub mod kubelet;
mod life;
pub mod manifests;
pub mod pki;
pub mod registry;
mod server;

pub use cluster::Cluster;
pub use life::Life;
