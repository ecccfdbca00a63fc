//! The Service that leads to the controllers.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Service;
use kube::Api;

use super::{Front, HOME, LINGER, World};

impl World {
    /// Restarts the controller that was started first as a Deployment does: another one gets calls once it is ready,
    /// then the first gets no new ones, and stops once the API server has heard of that.
    pub(crate) async fn replace_first(&mut self, flags: &[&str]) {
        let next = self.launch(flags, LINGER).await;
        next.readiness(200).await;
        self.controllers.push(next);
        self.route();
        self.stop_first().await;
    }

    /// Leads the Service to the controllers that run.
    pub(super) fn route(&self) {
        let addresses = self.controllers.iter().map(|running| running.admission);
        let addresses: Vec<SocketAddr> = addresses.collect();
        if let Some(simulated) = &self.simulated {
            simulated
                .cluster
                .route_service(HOME, "podrefresh", 443, &addresses);
        }
        if let Some(front) = &self.front {
            front.lead_to(addresses);
        }
    }

    /// Serves the Service on a real cluster: its API server dials the Service's address itself.
    pub(super) async fn open(&mut self) {
        if self.simulated.is_none() && self.front.is_none() {
            let address = format!("{}:443", self.service_ip().await);
            self.front = Some(Front::at(&address).await);
        }
    }

    /// Returns the address that the Service has.
    async fn service_ip(&self) -> String {
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
