//! What a large cluster costs: a tick over all its pods, and memory in all.

use std::time::Duration;

use tokio::{runtime::Runtime, time::sleep};

use crate::{
    controller::{Controller, Program},
    population::{Population, Size},
    process::{cpu, resident},
    refresh::provoke,
    report::{Figure, Report},
};

/// 2,000 owners.
const SIZE: Size = Size {
    pods: 100_000,
    per_owner: 50,
    images: 5_000,
};

/// Looks at all pods that are measured.
const TICKS: u32 = 10;

pub(crate) fn measure(report: &mut Report) {
    Runtime::new().unwrap().block_on(async {
        let population = Population::start(SIZE).await;
        population.fill().await;
        let controller = Controller::full(&population, Program::Shipped).await;
        let (before, busy) = (controller.ticks().await, cpu(controller.process.id()));
        for n in 0..TICKS {
            provoke(&population, n).await;
            // Longer than the controller rests after a look as long as this.
            sleep(Duration::from_secs(2)).await;
        }
        let busy = cpu(controller.process.id()) - busy;
        let ticks = controller.ticks().await.0 - before.0;
        report.below(
            "CPU of a tick over 100,000 pods of 2,000 owners, 5,000 images",
            Figure::Time(busy.as_secs_f64() / ticks),
            Figure::Time(0.25),
        );
        report.below(
            "resident memory, all told",
            Figure::Memory(resident(controller.process.id())),
            Figure::Memory(100 << 20),
        );
        population.cluster.assert_clean();
    });
}
