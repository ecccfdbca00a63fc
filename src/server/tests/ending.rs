//! How a server ends, and what its clients notice of it.

use axum::http::header;

use super::*;

#[tokio::test]
async fn what_is_under_way_is_finished_before_the_end() {
    for alpn in ["h2", "http/1.1"] {
        let mut server = start(Limits::default()).await;
        // A connection that does not get anywhere is not waited for.
        let _half_open = TcpStream::connect(server.address).await.unwrap();
        let client = server.client(&[alpn]);
        let waiting = tokio::spawn(client.get(server.url("/wait")).send());
        server.waiting.notified().await;
        server.stop.take().unwrap().send(()).unwrap();
        // Refused means that the server has heard of its end.
        while server.connect().await.is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(!server.task.is_finished());
        server.release.notify_one();
        let waited = waiting.await.unwrap().unwrap().text().await.unwrap();
        assert_eq!(waited, "waited");
        timeout(SOON, server.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn who_has_just_come_is_still_answered() {
    let mut server = start(Limits::default()).await;
    let greeted = server.connect().await.unwrap();
    let accepted = TcpStream::connect(server.address).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    while TcpStream::connect(server.address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    for mut client in [greeted, server.greet(accepted).await.unwrap()] {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        let (answer, _) = until_closed(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    timeout(SOON, server.task).await.unwrap().unwrap();
}

/// Asks for `/`, and returns whether the answer said that it is the connection's last one.
async fn asked(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> bool {
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut said = Vec::new();
    while !said.ends_with(b"fine") {
        let more = timeout(SOON, stream.read_buf(&mut said)).await;
        assert_ne!(more.unwrap().unwrap(), 0, "after {said:?}");
    }
    String::from_utf8(said)
        .unwrap()
        .contains("connection: close")
}

#[tokio::test]
async fn clients_are_told_to_go_before_they_are_left() {
    let mut server = start(Limits {
        linger: SOON * 10,
        ..Limits::default()
    })
    .await;
    let mut standing = server.connect().await.unwrap();
    assert!(!asked(&mut standing).await, "it may ask again");
    let mut busy = server.connect().await.unwrap();
    let streams = server.client(&["h2"]);
    streams.get(server.url("/")).send().await.unwrap();
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    server.waiting.notified().await;
    server.stop.take().unwrap().send(()).unwrap();
    // One that comes now is taken and told as well; the server may need a moment to hear of its end.
    timeout(SOON, async {
        while !asked(&mut server.connect().await.unwrap()).await {}
    })
    .await
    .unwrap();
    assert!(asked(&mut standing).await, "idle connections are kept");
    assert_eq!(until_closed(&mut standing).await.0, "");
    server.release.notify_one();
    let (waited, _) = until_closed(&mut busy).await;
    assert!(waited.contains("connection: close"), "{waited}");
    assert!(waited.ends_with("waited"), "{waited}");
    // There is no such header in HTTP/2, and its streams go on meanwhile.
    let answer = streams.get(server.url("/")).send().await.unwrap();
    assert!(!answer.headers().contains_key(header::CONNECTION));
    assert!(!server.task.is_finished());
}

#[tokio::test]
async fn the_linger_ends() {
    let mut server = start(Limits {
        linger: SHORT,
        ..Limits::default()
    })
    .await;
    let mut standing = server.connect().await.unwrap();
    asked(&mut standing).await;
    server.stop.take().unwrap().send(()).unwrap();
    timeout(SOON, server.task).await.unwrap().unwrap();
    assert_eq!(until_closed(&mut standing).await.0, "");
}

#[tokio::test]
async fn what_never_finishes_is_not_waited_for() {
    let mut server = start(Limits {
        drain: SHORT,
        ..Limits::default()
    })
    .await;
    let client = server.client(&["h2"]);
    let _waiting = tokio::spawn(client.get(server.url("/wait")).send());
    server.waiting.notified().await;
    server.stop.take().unwrap().send(()).unwrap();
    timeout(SOON, server.task).await.unwrap().unwrap();
}
