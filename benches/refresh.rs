//! What the controller costs: at rest, with many pods in its cache, and each time it looks at all of them.

use std::{
    fs,
    time::{Duration, Instant},
};

use testbed::api::{object, resource};
use tokio::{runtime::Runtime, time::sleep};

use crate::{
    controller::{Controller, PROGRAM, Program},
    counted::Heap,
    population::{Population, Size},
    process::{cpu, resident},
    report::{Figure, Report},
};

/// The cluster that is looked at.
const SIZE: Size = Size {
    pods: 20_000,
    per_owner: 10,
    images: 500,
};

/// Looks at all pods that are measured.
const TICKS: u32 = 20;

pub(crate) fn measure(report: &mut Report) {
    let size = fs::metadata(PROGRAM).unwrap().len();
    report.below(
        "size of the binary",
        Figure::Size(size),
        Figure::Size(15_000_000),
    );
    Runtime::new().unwrap().block_on(async {
        let population = Population::start(SIZE).await;
        let idle = Controller::start(&population, Program::Shipped, &[]).await;
        sleep(Duration::from_secs(5)).await;
        let rss = Figure::Memory(resident(idle.process.id()));
        report.below(
            "resident memory, idle in an empty cluster",
            rss,
            Figure::Memory(20 << 20),
        );
        drop(idle);
        let mut idle =
            Controller::start(&population, Program::Counted, &["--leader-elect=false"]).await;
        sleep(Duration::from_secs(1)).await;
        let empty = idle.heap();
        drop(idle);
        population.fill().await;
        shipped(report, &population).await;
        counted(report, &population, empty).await;
        population.cluster.assert_clean();
    });
}

/// The time of a tick.
async fn shipped(report: &mut Report, population: &Population) {
    let started = Instant::now();
    let controller = Controller::full(population, Program::Shipped).await;
    report.tell(
        &format!("from the start until {} pods are judged", SIZE.pods),
        Figure::time(started.elapsed()),
    );
    report.exactly(
        "manifest requests for their images",
        population.registry.manifest_requests(),
        SIZE.images,
    );
    report.tell(
        "resident memory then",
        Figure::Memory(resident(controller.process.id())),
    );
    let before = controller.ticks().await;
    for n in 0..TICKS {
        let ticks = controller.ticks().await.0;
        provoke(population, n).await;
        while controller.ticks().await.0 == ticks {
            sleep(Duration::from_millis(20)).await;
        }
    }
    let after = controller.ticks().await;
    let mean = (after.1 - before.1) / (after.0 - before.0);
    report.below(
        "a tick without a change, mean",
        Figure::Time(mean),
        Figure::Time(0.05),
    );
    report.exactly(
        "manifest requests during the ticks",
        population.registry.manifest_requests(),
        SIZE.images,
    );
}

/// The memory of the cache, and what a tick allocates.
async fn counted(report: &mut Report, population: &Population, empty: Heap) {
    let mut controller = Controller::full(population, Program::Counted).await;
    let (before, full) = (controller.ticks().await, controller.heap());
    let busy = cpu(controller.process.id());
    for n in 0..TICKS {
        provoke(population, n).await;
        // More than the controller waits for further changes; asking for its metrics would count as well.
        sleep(Duration::from_millis(300)).await;
    }
    let busy = cpu(controller.process.id()) - busy;
    let (heap, after) = (controller.heap(), controller.ticks().await);
    let ticks = (after.0 - before.0) as usize;
    report.tell(
        "CPU of a tick, with the event that led to it",
        Figure::time(busy / ticks as u32),
    );
    let allocations = (heap.allocations - full.allocations) / ticks;
    report.below(
        "allocations of it",
        Figure::Count(allocations as u64),
        Figure::Count(SIZE.pods as u64 / 100),
    );
    let per_pod = (full.live - empty.live) / SIZE.pods;
    report.below(
        "heap for each pod, of two containers, all told",
        Figure::Memory(per_pod as u64),
        Figure::Memory(1024),
    );
}

/// Changes something that the controller must look at all pods for, and that changes no pod's lot.
pub(crate) async fn provoke(population: &Population, n: u32) {
    let wish =
        |namespace: &mut _| object::annotate(namespace, "podrefresh.io/min-age", &format!("{n}s"));
    let api = population.cluster.api();
    api.update(&resource::NAMESPACES, "", "default", wish)
        .await
        .unwrap();
}
