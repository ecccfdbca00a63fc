//! The Service that leads to the controllers.

use std::{net::SocketAddr, time::Duration};

use k8s_openapi::api::core::v1::Service;
use kube::Api;

use super::{HOME, World};

impl World {
    /// Restarts the controller that was started first as a Deployment does: another one gets calls once it is ready,
    /// then the first gets no new ones, and stops once the API server has heard of that.
    pub(crate) async fn replace_first(&mut self, flags: &[&str]) {
        let next = self.launch(flags, Duration::from_millis(500)).await;
        next.readiness(200).await;
        self.controllers.push(next);
        self.route();
        self.stop_first().await;
    }

    /// Leads the Service to the controllers that run.
    pub(super) fn route(&self) {
        if let Some(simulated) = &self.simulated {
            let addresses: Vec<SocketAddr> = self
                .controllers
                .iter()
                .map(|running| running.admission)
                .collect();
            simulated
                .cluster
                .route_service(HOME, "podrefresh", 443, &addresses);
        }
    }

    /// Returns the address that the Service has.
    pub(super) async fn service_ip(&self) -> String {
        let services: Api<Service> = self.kube.api(HOME);
        services
            .get("podrefresh")
            .await
            .unwrap()
            .spec
            .unwrap()
            .cluster_ip
            .unwrap()
    }
}
