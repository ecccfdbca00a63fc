//! What kube-proxy is on a node: each new connection to an address goes to one of the replicas behind it.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// An address with replicas behind it; it ends with this value, the connections through it with those at their ends.
pub(super) struct Front {
    replicas: Arc<Mutex<Vec<SocketAddr>>>,
    task: JoinHandle<()>,
}

impl Front {
    /// Listens at `address`; nobody is behind it yet.
    pub(super) async fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let replicas = Arc::new(Mutex::new(Vec::new()));
        let task = tokio::spawn({
            let (replicas, turn) = (Arc::clone(&replicas), AtomicUsize::new(0));
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let replicas: Vec<SocketAddr> = replicas.lock().unwrap().clone();
                    let nth = turn.fetch_add(1, Ordering::Relaxed) % replicas.len().max(1);
                    // Who has nobody behind it hangs up.
                    if let Some(replica) = replicas.get(nth) {
                        tokio::spawn(join(client, *replica));
                    }
                }
            }
        });
        Self { replicas, task }
    }

    /// Leads new connections to these; those that stand stay where they are.
    pub(super) fn lead_to(&self, replicas: Vec<SocketAddr>) {
        *self.replicas.lock().unwrap() = replicas;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn join(mut client: TcpStream, replica: SocketAddr) {
    if let Ok(mut replica) = TcpStream::connect(replica).await {
        // One of them went away.
        let _ = copy_bidirectional(&mut client, &mut replica).await;
    }
}
