//! What must hold before reviews may be sent here.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rustls_pki_types::UnixTime;

use crate::{
    cluster::{Namespaces, Pods},
    error::Chain,
    observe::admin::Check,
    tls,
};

/// Returns what must hold before reviews may be sent here.
pub(super) fn checks(
    stopping: &Arc<AtomicBool>,
    serving: &tls::Serving,
    pods: &Pods,
    namespaces: &Namespaces,
) -> Vec<Check> {
    let (stopping, serving) = (stopping.clone(), serving.clone());
    let (pods, namespaces) = (pods.clone(), namespaces.clone());
    let synced = |synced: bool| {
        synced
            .then_some(())
            .ok_or_else(|| "not listed yet".to_owned())
    };
    vec![
        (
            "running",
            Box::new(move || match stopping.load(Ordering::Relaxed) {
                false => Ok(()),
                true => Err("stopping".to_owned()),
            }),
        ),
        (
            "certificate",
            Box::new(move || {
                serving
                    .check(UnixTime::now())
                    .map_err(|error| Chain(&error).to_string())
            }),
        ),
        ("namespaces", Box::new(move || synced(namespaces.synced()))),
        ("pods", Box::new(move || synced(pods.synced()))),
    ]
}
