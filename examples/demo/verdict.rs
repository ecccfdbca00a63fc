//! How it ended: a table of the pods, what was counted, and what should not have been.

use std::collections::BTreeSet;

use crate::{
    TAG,
    house::House,
    observer::Observer,
    pods::{Seen, short},
    shop::{BUDGET, PODS, Tally, WORKLOADS},
};

/// What is pushed, one after the other.
const PUSHES: [&str; 3] = ["good", BROKEN, "mended"];

/// The push that none of the pods can run.
const BROKEN: &str = "broken";

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
    let faults = faults(house, observer, &wanted);
    let rows: Vec<_> = PUSHES.iter().zip(&observer.tallies).map(counts).collect();
    let heads = ["PUSH", "EVICTED", "REFUSED", "FEWEST READY"];
    page.table(heads, &rows);
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

/// Returns the row of one push.
fn counts((push, tally): (&&str, &Tally)) -> [String; 4] {
    let evicted = WORKLOADS.map(|(app, _)| format!("{app} {}", tally.evicted(app)));
    let fewest = WORKLOADS.map(|(app, pods)| format!("{app} {}/{pods}", tally.fewest(app)));
    let (budget, _, least) = BUDGET;
    let (refused, up) = (tally.refused(), tally.fewest(budget));
    [
        (*push).to_owned(),
        evicted.join("  "),
        format!("{budget} {refused}"),
        format!("{}  {budget} {up} ({least} must be)", fewest.join("  ")),
    ]
}

/// Returns what is not as it must be.
fn faults(house: &House, observer: &Observer, wanted: &str) -> Vec<String> {
    let tallies = &observer.tallies;
    let mut faults: Vec<String> = tallies.iter().flat_map(|it| it.broken.clone()).collect();
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
    check(
        tallies.len() == PUSHES.len(),
        format!("{} images were pushed, not {}", tallies.len(), PUSHES.len()),
    );
    for (push, tally) in PUSHES.iter().zip(tallies) {
        let broken = *push == BROKEN;
        check(
            tally.is_halted() || !broken,
            format!("{push}: no Event told that it is halted"),
        );
        for (app, pods) in WORKLOADS {
            let evicted = tally.evicted(app);
            let may = if broken {
                evicted <= 1
            } else {
                evicted == pods
            };
            check(
                may,
                format!("{push}: {evicted} pods of {app} were evicted, and it has {pods}"),
            );
        }
    }
    let refused: usize = tallies.iter().map(Tally::refused).sum();
    check(refused > 0, "the budget had nothing to refuse".to_owned());
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
