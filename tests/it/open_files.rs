//! A controller that may have few files open, and is called over many connections.

use std::{net::SocketAddr, time::Duration};

use futures::future::join_all;
use tokio::{
    io::AsyncReadExt as _,
    net::TcpStream,
    process::Command,
    time::{Instant, timeout_at},
};

use crate::support::{
    kube::eventually,
    program::{Process, Program},
    world::{HOME, World, get},
};

/// Starts a controller under these limits, as `ulimit` takes them; waits until it is ready.
async fn start(world: &World, limits: &str) -> Process {
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("ulimit {limits} && exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_podrefresh"))
        .args([
            "controller",
            "--admin-addr=127.0.0.1:0",
            "--admission-addr=127.0.0.1:0",
        ]);
    let process = Program::of(command)
        .env("PODREFRESH_NAMESPACE", HOME)
        .kubeconfig(&world.account_kubeconfig("podrefresh").await)
        .start();
    let admin = process.serving().await.admin;
    eventually("a ready controller", async || {
        (get(admin, "/readyz").await.0 == 200).then_some(())
    })
    .await;
    process
}

/// Opens connections one after the other.
async fn open(address: SocketAddr, connections: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..connections {
        open.push(TcpStream::connect(address).await.unwrap());
    }
    open
}

/// Returns how many of `open` the server closes within `patience`.
async fn closed(open: &mut [TcpStream], patience: Duration) -> usize {
    let end = Instant::now() + patience;
    let ends = open
        .iter_mut()
        .map(async |stream| timeout_at(end, stream.read(&mut [0])).await.is_ok());
    let ends = join_all(ends).await.into_iter();
    ends.filter(|is_closed| *is_closed).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_low_soft_limit_is_raised_and_costs_no_connection() {
    let world = World::start().await;
    let process = start(&world, "-S -n 128").await;
    let serving = process.serving().await;
    let mut open = open(serving.admission, 200).await;
    // All of them are taken, one idles as well as the other, and the admin port answers beside them.
    eventually("all connections to be taken", async || {
        (200 < process.files()).then_some(())
    })
    .await;
    assert_eq!(get(serving.admin, "/livez").await.0, 200);
    assert_eq!(closed(&mut open, Duration::from_millis(500)).await, 0);
    let said = process.says("Serving reviews").await;
    assert!(!said.contains("files may be open"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_low_hard_limit_connections_make_room_before_files_run_out() {
    let world = World::start().await;
    let process = start(&world, "-n 128").await;
    let serving = process.serving().await;
    let warning = "Only 128 files may be open at once: reviews come in over at most 32 connections";
    let said = process.says(warning).await;
    assert!(said.contains("must be 16384"), "{said}");
    let mut open = open(serving.admission, 200).await;
    // The eldest have made room for the youngest.
    let (eldest, youngest) = open.split_at_mut(168);
    let patience = Duration::from_secs(10);
    assert_eq!(closed(eldest, patience).await, 168);
    assert_eq!(closed(youngest, Duration::from_millis(500)).await, 0);
    assert_eq!(get(serving.admin, "/livez").await.0, 200);
    let said = process.says("Serving reviews").await;
    assert!(!said.contains("Could not accept"), "{said}");
}
