//! How it ended: a table of the pods, what was counted, and what should not have been.

use std::collections::BTreeSet;

use crate::{
    TAG,
    house::House,
    observer::Observer,
    pods::{Seen, short},
    shop::{BUDGET, PODS, Tally, WORKLOADS},
};

/// What shows the stamps, behind `kubectl -n NAMESPACE`.
pub(crate) const STAMPS: &str = r"get pods -o custom-columns='POD:.metadata.name,DIGEST:.metadata.annotations.digest\.podrefresh\.io/app'";

/// Who the controller is to the API server.
const USER: &str = "system:serviceaccount:podrefresh:podrefresh";

/// Prints what [`STAMPS`] does.
pub(crate) fn stamps(observer: &Observer) {
    let row = |pod: &Seen| [pod.name.clone(), pod.stamp.clone()];
    observer.page.table(
        ["POD", "DIGEST"],
        &sorted(observer).map(row).collect::<Vec<_>>(),
    );
    observer.page.print("");
}

/// Prints how it ended, and says whether it ended well.
pub(crate) fn print(house: &House, observer: &Observer) -> bool {
    let page = &observer.page;
    let seconds = page.seconds();
    let wanted = house.digest(TAG);
    let row = |pod: &Seen| {
        let ready = if pod.ready { "yes" } else { "no" };
        let (running, stamp) = (short(&pod.running).to_owned(), short(&pod.stamp).to_owned());
        [
            pod.name.clone(),
            running,
            stamp,
            ready.to_owned(),
            pod.restarts.to_string(),
        ]
    };
    page.print("");
    let rows: Vec<_> = sorted(observer).map(row).collect();
    page.table(["POD", "RUNS", "STAMP", "READY", "RESTARTS"], &rows);
    page.print("");
    let none = Tally::default();
    let tally = observer.tally.as_ref().unwrap_or(&none);
    let faults = faults(house, observer, tally, &wanted);
    for (app, pods) in WORKLOADS {
        let (evicted, fewest) = (tally.evicted(app), tally.fewest(app));
        page.print(&format!(
            "{app:<9} {evicted} evicted, never fewer than {fewest} of {pods} Ready"
        ));
    }
    let (budget, _, least) = BUDGET;
    let (refused, fewest) = (tally.refused(), tally.fewest(budget));
    page.print(&format!(
        "{budget:<9} {refused} refused, never fewer than {fewest} Ready ({least} must be)"
    ));
    page.print("");
    for fault in &faults {
        page.print(&format!("WRONG: {fault}"));
    }
    if faults.is_empty() {
        page.print(&format!(
            "All {PODS} pods run {wanted} after {seconds:.1} s"
        ));
    }
    faults.is_empty()
}

/// Returns what is not as it must be.
fn faults(house: &House, observer: &Observer, tally: &Tally, wanted: &str) -> Vec<String> {
    let mut faults = tally.broken.clone();
    let mut check = |holds: bool, fault: String| {
        if !holds {
            faults.push(fault);
        }
    };
    let current = observer
        .pods
        .values()
        .filter(|pod| pod.is_on(wanted))
        .count();
    let pods = observer.pods.len();
    check(
        (current, pods) == (PODS, PODS),
        format!(
            "{current} of {pods} pods are Ready, run {wanted} and are stamped with it; all {PODS} must"
        ),
    );
    for (app, pods) in WORKLOADS {
        let evicted = tally.evicted(app);
        check(
            evicted == pods,
            format!("{app}: {evicted} pods were evicted, and it has {pods}"),
        );
    }
    check(
        tally.refused() > 0,
        "the budget had nothing to refuse".to_owned(),
    );
    let journal = house.cluster.journal();
    let forbidden = journal.find(|entry| entry.user == USER && entry.status == 403);
    let forbidden: BTreeSet<String> = forbidden
        .iter()
        .map(|entry| format!("{} {}/{}", entry.verb, entry.resource, entry.subresource))
        .collect();
    for call in forbidden {
        let call = call.trim_end_matches('/');
        check(
            false,
            format!("manifests/ do not let the controller {call}"),
        );
    }
    for request in house.cluster.unmodelled() {
        check(false, format!("the testbed does not model {request}"));
    }
    faults
}

/// Returns the pods by name.
fn sorted(observer: &Observer) -> impl Iterator<Item = &Seen> {
    let mut pods: Vec<&Seen> = observer.pods.values().collect();
    pods.sort_by(|a, b| a.name.cmp(&b.name));
    pods.into_iter()
}
