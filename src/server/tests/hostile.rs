//! Clients that are slow, silent, too many, or speak something else.

use super::*;

/// Longer than any test waits: what a test does not want to run into.
const LONG: Duration = Duration::from_secs(300);

/// Checks that the server still answers, and at once.
async fn check_serves(server: &Running) {
    let answer = server.client(&["h2"]).get(server.url("/")).send().await;
    assert_eq!(answer.unwrap().text().await.unwrap(), "fine");
}

/// Writes a byte now and then until the server has had enough.
async fn trickle(stream: &mut Client<TcpStream>) {
    let trickling = async {
        while stream.write_all(b"a").await.is_ok() && stream.flush().await.is_ok() {
            sleep(SHORT / 10).await;
        }
    };
    timeout(SOON, trickling)
        .await
        .expect("the server must close the connection");
}

#[tokio::test]
async fn a_head_that_trickles_in_has_no_more_time_than_a_silent_client() {
    let server = start(Limits {
        greeting: SHORT,
        idle: SHORT * 2,
        ..Limits::default()
    })
    .await;
    let mut first = server.connect().await.unwrap();
    first.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
    trickle(&mut first).await;
    let mut second = server.connect().await.unwrap();
    second
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTTP/1.1\r\nX: ")
        .await
        .unwrap();
    trickle(&mut second).await;
    check_serves(&server).await;
}

/// A ClientHello of TLS 1.0 with one cipher suite, as a client of 2005 would send it.
const TLS_1_0: &[u8] = &[
    0x16, 3, 1, 0, 45, // a handshake record
    1, 0, 0, 41, 3, 1, // ClientHello, version 3.1
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    0, // no session
    0, 2, 0, 0x2f, // TLS_RSA_WITH_AES_128_CBC_SHA
    1, 0, // no compression
];

#[tokio::test]
async fn tls_1_0_is_answered_with_an_alert() {
    let server = start(Limits::default()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(TLS_1_0).await.unwrap();
    let mut said = Vec::new();
    let _ = timeout(SOON, stream.read_to_end(&mut said)).await.unwrap();
    // An alert record: fatal, handshake_failure (RFC 8446, section 6). It asks for no signature that we have either.
    assert_eq!(said, [21, 3, 3, 0, 2, 2, 40]);
    check_serves(&server).await;
}

#[tokio::test]
async fn half_open_connections_end_by_a_ping_that_nobody_answers() {
    let mut server = start(Limits {
        ping: SHORT,
        greeting: LONG,
        drain: LONG,
        ..Limits::default()
    })
    .await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = TlsConnector::from(Arc::new(server.tls(&["h2"])))
        .connect(name, stream)
        .await
        .unwrap();
    // The preface and empty SETTINGS; afterwards its host is gone, and nothing more comes or goes.
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    until_closed(&mut stream).await;
    server.stop.take().unwrap().send(()).unwrap();
    timeout(SOON, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up() {
    let mut server = start(Limits {
        stall: SHORT,
        idle: LONG,
        drain: LONG,
        ..Limits::default()
    })
    .await;
    let mut stream = server.connect().await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    // Its beginning says that the answer is under way.
    stream.read_exact(&mut [0; 15]).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    timeout(SOON, server.task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_flood_of_connections_keeps_nobody_out() {
    let server = start(Limits {
        connections: 8,
        greeting: LONG,
        idle: LONG,
        ..Limits::default()
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(TcpStream::connect(server.address).await.unwrap());
        let mut greeted = server.connect().await.unwrap();
        greeted
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        greeted.read_exact(&mut [0; 15]).await.unwrap();
        silent.push(greeted.into_inner().0);
    }
    check_serves(&server).await;
    let gone = silent
        .iter()
        .filter(|stream| stream.try_read(&mut [0; 1]).is_ok_and(|n| n == 0));
    assert!(0 < gone.count(), "someone had to go");
}

#[tokio::test]
async fn while_all_are_busy_a_newcomer_is_sent_away_at_once() {
    let server = start(Limits {
        connections: 1,
        greeting: LONG,
        ..Limits::default()
    })
    .await;
    let client = server.client(&["h2"]);
    let waiting = tokio::spawn(client.get(server.url("/wait")).send());
    server.waiting.notified().await;
    let refused = server.connect().await;
    assert!(refused.is_err(), "there is no place");
    server.release.notify_one();
    let waited = waiting.await.unwrap().unwrap().text().await.unwrap();
    assert_eq!(waited, "waited");
    // An answer is on its way a moment before its request counts as done.
    let served = async { while server.connect().await.is_err() {} };
    timeout(SOON, served).await.unwrap();
}

#[tokio::test]
async fn who_loses_an_idle_connection_never_notices() {
    let server = start(Limits {
        connections: 1,
        ..Limits::default()
    })
    .await;
    let (first, second) = (server.client(&["h2"]), server.client(&["http/1.1"]));
    for _ in 0..3 {
        for client in [&first, &second] {
            let answer = client.get(server.url("/")).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "fine");
        }
    }
}

#[tokio::test]
async fn the_unspecified_address_takes_both_families() {
    let listener = bind("[::]:0".parse().unwrap()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut families = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, address.port()))];
    if address.is_ipv6() {
        families.push((std::net::Ipv6Addr::LOCALHOST, address.port()).into());
    }
    for family in families {
        let (connected, accepted) = tokio::join!(TcpStream::connect(family), listener.accept());
        let peer = accepted.unwrap().1.ip().to_canonical();
        assert_eq!(peer, connected.unwrap().local_addr().unwrap().ip());
    }
}
