//! Whose credentials a pod's images are pulled with: namespace, pull secrets, ServiceAccount.

use std::sync::Arc;

use super::names::is_object_name;

/// As many of a pod's imagePullSecrets count. Each is read from the API server, whoever wrote the pod.
const MOST_SECRETS: usize = 32;

/// The account of a pod that names none.
const DEFAULT_ACCOUNT: &str = "default";

/// What the kubelet would pull a pod's images with; equal identities share lookups.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PullIdentity {
    /// The namespace the secrets lie in.
    pub namespace: Arc<str>,
    /// The names of the pod's imagePullSecrets, each once and in the pod's order.
    pub secrets: Box<[Arc<str>]>,
    /// The pod's ServiceAccount.
    pub service_account: Arc<str>,
}

impl PullIdentity {
    /// Returns the identity of a pod of `namespace` that names these `secrets` and this ServiceAccount.
    ///
    /// Names that no object can have are left out, as the API server lets a pod name anything as its secret; and so is
    /// what is behind the first 32. `keep` returns the copy of a name that is kept.
    pub fn new<'a>(
        namespace: Arc<str>,
        secrets: impl Iterator<Item = &'a str>,
        service_account: Option<&str>,
        mut keep: impl FnMut(&str) -> Arc<str>,
    ) -> Self {
        let mut names: Vec<Arc<str>> = Vec::new();
        for name in secrets.filter(|name| is_object_name(name)) {
            if names.len() == MOST_SECRETS {
                break;
            }
            if names.iter().all(|known| **known != *name) {
                names.push(keep(name));
            }
        }
        // A pod with an account that cannot be is about to be refused.
        let account = service_account.filter(|name| is_object_name(name));
        Self {
            namespace,
            secrets: names.into(),
            service_account: keep(account.unwrap_or(DEFAULT_ACCOUNT)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(secrets: &[&str], account: Option<&str>, expected: (&[&str], &str)) {
        let secrets = secrets.iter().copied();
        let identity = PullIdentity::new("shop".into(), secrets, account, |name| name.into());
        let names: Vec<&str> = identity.secrets.iter().map(|name| &**name).collect();
        assert_eq!((&names[..], &*identity.service_account), expected);
        assert_eq!(&*identity.namespace, "shop");
    }

    #[test]
    fn each_name_counts_once_and_in_its_order() {
        check(&[], None, (&[], "default"));
        check(&["b", "a", "b"], Some("puller"), (&["b", "a"], "puller"));
    }

    #[test]
    fn what_is_no_objects_name_does_not_count() {
        let longer = "x".repeat(254);
        check(&["", "A", "../a", &longer, "a"], None, (&["a"], "default"));
        for account in ["", "a/b", &longer] {
            check(&[], Some(account), (&[], "default"));
        }
        let longest = "x".repeat(253);
        check(&[&longest], Some(&longest), (&[&longest], &longest));
    }

    #[test]
    fn the_first_32_count_and_no_other_is_kept() {
        let names: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        check(&names[..32], None, (&names[..32], "default"));
        check(&names, None, (&names[..32], "default"));
        // Neither do doubles and what is no name take a place.
        let odd = [&["s0", "", "s0"][..], &names].concat();
        check(&odd, None, (&names[..32], "default"));
        let mut kept = 0;
        let keep = |name: &str| {
            kept += 1;
            Arc::from(name)
        };
        PullIdentity::new("shop".into(), names.into_iter(), None, keep);
        assert_eq!(kept, 33, "32 secrets and the account");
    }
}
