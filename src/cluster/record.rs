//! The content of a Lease, kept whole, so that what others wrote into it survives our writing.

use std::{net::SocketAddr, time::Duration};

use jiff::{Timestamp, fmt::strtime};
use serde_json::{Map, Value, json};

/// The annotation by which the holder tells where it takes notifications.
const NOTIFY_ADDRESS: &str = "podrefresh.io/notify-address";

/// The fields that tell one claim from the next.
///
/// Source: `k8s.io/client-go/tools/leaderelection`: a lease is as old as its `LeaderElectionRecord`, which is made of them.
const CLAIM: [&str; 5] = [
    "holderIdentity",
    "acquireTime",
    "renewTime",
    "leaseDurationSeconds",
    "leaseTransitions",
];

/// A Lease as read, or as it will be created.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record(Value);

impl Record {
    pub(super) const fn new(lease: Value) -> Self {
        Self(lease)
    }

    /// Returns who holds it; empty if nobody does.
    pub(super) fn holder(&self) -> &str {
        self.0["spec"]["holderIdentity"]
            .as_str()
            .unwrap_or_default()
    }

    /// Returns when it was renewed last, by its holder's clock.
    pub(super) fn renewed(&self) -> Option<Timestamp> {
        self.0["spec"]["renewTime"].as_str()?.parse().ok()
    }

    /// Returns how long it is respected without a renewal.
    pub(super) fn duration(&self) -> Duration {
        let seconds = self.0["spec"]["leaseDurationSeconds"].as_u64();
        Duration::from_secs(seconds.unwrap_or_default())
    }

    /// Says whether it is the same claim as `other`: nobody has taken, renewed or released it since. What else somebody
    /// wrote on the Lease, a label or an annotation, keeps no dead holder alive.
    pub(super) fn is_same_claim(&self, other: &Self) -> bool {
        let (ours, theirs) = (&self.0["spec"], &other.0["spec"]);
        CLAIM.iter().all(|field| ours[field] == theirs[field])
    }

    /// Returns where its holder takes notifications, if it says so.
    pub(super) fn notify_address(&self) -> Option<SocketAddr> {
        let annotation = &self.0["metadata"]["annotations"][NOTIFY_ADDRESS];
        annotation.as_str()?.parse().ok()
    }

    /// Returns it as held, from now on, by `identity`, which takes notifications at `address`.
    pub(super) fn claimed(
        &self,
        identity: &str,
        duration: Duration,
        address: Option<SocketAddr>,
    ) -> Value {
        let now = micros(Timestamp::now());
        let mut changes = vec![
            ("holderIdentity", json!(identity)),
            ("leaseDurationSeconds", json!(whole_seconds(duration))),
            ("renewTime", json!(now)),
        ];
        let transitions = &self.0["spec"]["leaseTransitions"];
        if self.holder() != identity {
            let count = transitions
                .as_i64()
                .map_or(0, |count| count.saturating_add(1));
            changes.push(("acquireTime", json!(now)));
            changes.push(("leaseTransitions", json!(count)));
        }
        self.with(changes, address)
    }

    /// Returns it as held by nobody.
    pub(super) fn released(&self) -> Value {
        let now = micros(Timestamp::now());
        let changes = vec![
            ("holderIdentity", json!("")),
            // Zero is refused; one second is what is left to wait for clients that look at it.
            ("leaseDurationSeconds", json!(1)),
            ("acquireTime", json!(now)),
            ("renewTime", json!(now)),
        ];
        self.with(changes, None)
    }

    fn with(&self, changes: Vec<(&str, Value)>, address: Option<SocketAddr>) -> Value {
        let mut lease = self.0.clone();
        if !lease["spec"].is_object() {
            lease["spec"] = Value::Object(Map::new());
        }
        for (field, value) in changes {
            lease["spec"][field] = value;
        }
        // An address that another holder has left leads nowhere.
        let annotations = lease["metadata"]["annotations"].as_object_mut();
        match (address, annotations) {
            (Some(address), Some(annotations)) => {
                annotations.insert(NOTIFY_ADDRESS.to_owned(), json!(address));
            }
            (Some(address), None) => {
                lease["metadata"]["annotations"] = json!({NOTIFY_ADDRESS: address});
            }
            (None, Some(annotations)) => {
                annotations.remove(NOTIFY_ADDRESS);
            }
            (None, None) => {}
        }
        lease
    }
}

/// Returns a `MicroTime`: the API server takes exactly six digits behind the point.
pub(super) fn micros(time: Timestamp) -> String {
    strtime::format("%Y-%m-%dT%H:%M:%S%.6fZ", time).expect("a timestamp must have all its parts")
}

/// Rounds up: others must wait at least as long as we count on.
fn whole_seconds(duration: Duration) -> u64 {
    let rest = u64::from(duration.subsec_nanos() > 0);
    (duration.as_secs() + rest).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: &str = r#"{"kind":"Lease","apiVersion":"coordination.k8s.io/v1","metadata":{"name":"podrefresh",
        "namespace":"rec-lz","uid":"db110fd8","resourceVersion":"5773","annotations":{"theirs":"stays"}},
        "spec":{"holderIdentity":"a","leaseDurationSeconds":15,"acquireTime":"2026-11-21T22:11:28.049281Z",
        "renewTime":"2026-11-21T22:11:28.049293Z","leaseTransitions":3,"preferredHolder":"theirs"}}"#;

    fn lease() -> Record {
        Record::new(serde_json::from_str(LEASE).unwrap())
    }

    #[test]
    fn a_lease_is_read() {
        let lease = lease();
        assert_eq!(lease.holder(), "a");
        assert_eq!(lease.duration(), Duration::from_secs(15));
        let renewed = "2026-11-21T22:11:28.049293Z".parse().unwrap();
        assert_eq!(lease.renewed(), Some(renewed));
        assert_eq!(Record::new(json!({})).renewed(), None);
    }

    #[test]
    fn a_renewal_changes_the_time_alone() {
        let claimed = lease().claimed("a", Duration::from_secs(15), None);
        let mut expected = lease().0;
        expected["spec"]["renewTime"] = claimed["spec"]["renewTime"].clone();
        assert_eq!(claimed, expected);
        assert_ne!(claimed, lease().0);
    }

    #[test]
    fn a_claim_is_told_from_the_next_and_not_from_what_others_write() {
        let same = |change: fn(&mut Value)| {
            let mut changed = lease().0;
            change(&mut changed);
            Record::new(changed).is_same_claim(&lease())
        };
        assert!(same(
            |lease| lease["metadata"]["resourceVersion"] = json!("5774")
        ));
        assert!(same(
            |lease| lease["metadata"]["annotations"]["theirs"] = json!("anew")
        ));
        assert!(!same(|lease| lease["spec"]["holderIdentity"] = json!("b")));
        assert!(!same(|lease| lease["spec"]["leaseTransitions"] = json!(4)));
        assert!(!same(
            |lease| lease["spec"]["leaseDurationSeconds"] = json!(16)
        ));
        for time in ["acquireTime", "renewTime"] {
            let mut changed = lease().0;
            changed["spec"][time] = json!("2026-11-21T22:11:30.000000Z");
            assert!(!Record::new(changed).is_same_claim(&lease()), "{time}");
        }
    }

    #[test]
    fn a_takeover_is_counted() {
        let claimed = lease().claimed("b", Duration::from_millis(2500), None);
        let spec = &claimed["spec"];
        assert_eq!(spec["holderIdentity"], "b");
        assert_eq!(spec["leaseTransitions"], 4);
        assert_eq!(spec["leaseDurationSeconds"], 3);
        assert_eq!(spec["acquireTime"], spec["renewTime"]);
        assert_eq!(claimed["metadata"], lease().0["metadata"]);
    }

    #[test]
    fn a_new_lease_starts_at_zero() {
        let new = Record::new(json!({"metadata": {"name": "podrefresh"}}));
        assert_eq!(new.holder(), "");
        assert_eq!(
            new.claimed("a", Duration::from_secs(15), None)["spec"]["leaseTransitions"],
            0
        );
    }

    #[test]
    fn a_release_leaves_nothing_to_wait_for() {
        let released = Record::new(lease().released());
        assert_eq!(released.holder(), "");
        assert_eq!(released.duration(), Duration::from_secs(1));
    }

    #[test]
    fn the_holder_tells_where_it_takes_notifications() {
        let second = Duration::from_secs(1);
        let address: SocketAddr = "10.1.2.3:8090".parse().unwrap();
        let told = Record::new(lease().claimed("b", second, Some(address)));
        let annotations = &told.0["metadata"]["annotations"];
        let expected = json!({"theirs": "stays", NOTIFY_ADDRESS: "10.1.2.3:8090"});
        assert_eq!(annotations, &expected);
        assert_eq!(told.notify_address(), Some(address));
        // Who takes none leaves none behind, and nor does who goes.
        for next in [told.claimed("c", second, None), told.released()] {
            assert_eq!(next["metadata"], lease().0["metadata"]);
        }
        let new = Record::new(json!({})).claimed("b", second, Some(address));
        assert_eq!(Record::new(new).notify_address(), Some(address));
        let odd = json!({"metadata": {"annotations": {NOTIFY_ADDRESS: "evil.example:80"}}});
        assert_eq!(
            Record::new(odd).notify_address(),
            None,
            "an IP address alone"
        );
    }

    #[test]
    fn a_time_has_six_digits_behind_the_point() {
        let check = |time: &str, expected: &str| {
            assert_eq!(micros(time.parse().unwrap()), expected);
        };
        check("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.000000Z");
        check("2026-01-01T00:00:00.123Z", "2026-01-01T00:00:00.123000Z");
        check(
            "2026-01-01T00:00:00.123456789Z",
            "2026-01-01T00:00:00.123456Z",
        );
    }
}
