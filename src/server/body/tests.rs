use super::*;

const ARRIVAL: Duration = Duration::from_secs(2);

const LIMITS: BodyLimits = BodyLimits {
    one: 100,
    all: 400,
    small: 50,
    arrival: ARRIVAL,
};

/// A deadline that nobody waits for.
fn far() -> Instant {
    Instant::now() + ARRIVAL * 10
}

fn announcing(bytes: usize) -> HeaderMap {
    [(header::CONTENT_LENGTH, bytes.into())]
        .into_iter()
        .collect()
}

/// Returns a body of which these bytes arrive, and the rest never does.
fn unfinished(bytes: usize) -> Body {
    use futures::StreamExt as _;
    let first = Ok::<_, axum::Error>(Bytes::from(vec![b' '; bytes]));
    Body::from_stream(futures::stream::iter([first]).chain(futures::stream::pending()))
}

async fn read(intake: &Intake, bytes: usize) -> Result<Received, Unread> {
    let body = Body::from(vec![b' '; bytes]);
    intake.read(&announcing(bytes), body, far()).await
}

#[tokio::test(start_paused = true)]
async fn bodies_wait_for_room_until_their_deadline() {
    let intake = Intake::new(LIMITS);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(read(&intake, 50).await.unwrap());
    }
    assert_eq!(held[0].bytes.len(), 50);
    let wait = async |deadline: Duration| {
        let started = Instant::now();
        let body = Body::from(" ");
        let read = intake.read(&announcing(1), body, started + deadline).await;
        let refused = read.expect_err("there is no room");
        assert!(matches!(refused, Unread::Busy), "{refused}");
        started.elapsed()
    };
    assert_eq!(wait(ARRIVAL / 2).await.as_secs(), 1);
    assert_eq!(wait(ARRIVAL * 10).await.as_secs(), 2);
    let waiting = read(&intake, 50);
    let freed = async {
        tokio::task::yield_now().await;
        held.pop();
    };
    let (waited, ()) = tokio::join!(waiting, freed);
    waited.unwrap();
}

#[tokio::test(start_paused = true)]
async fn large_bodies_leave_half_of_the_room_to_small_ones() {
    let intake = Intake::new(LIMITS);
    let mut held = vec![
        read(&intake, 100).await.unwrap(),
        read(&intake, 51).await.unwrap(),
    ];
    // Who does not say how much it will be is not believed to be small.
    let unannounced = async |bytes: usize| {
        let body = Body::from(vec![b' '; bytes]);
        intake.read(&HeaderMap::new(), body, far()).await
    };
    held.push(unannounced(49).await.unwrap());
    for refused in [read(&intake, 51).await, unannounced(1).await] {
        assert!(matches!(refused, Err(Unread::Busy)), "{refused:?}");
    }
    for _ in 0..4 {
        held.push(read(&intake, 50).await.unwrap());
    }
    let refused = read(&intake, 1).await;
    assert!(matches!(refused, Err(Unread::Busy)), "{refused:?}");
    // What was held is free again, of both.
    held.clear();
    for _ in 0..2 {
        held.push(read(&intake, 100).await.unwrap());
    }
}

#[tokio::test(start_paused = true)]
async fn small_bodies_may_have_all_of_the_room() {
    let intake = Intake::new(LIMITS);
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(read(&intake, 50).await.unwrap());
    }
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn an_unfinished_body_is_given_up_and_its_room_free() {
    let intake = Intake::new(LIMITS);
    let started = Instant::now();
    let unannounced = HeaderMap::new();
    let slow = (0..4).map(|_| intake.read(&unannounced, unfinished(50), far()));
    let (slow, waited) = tokio::join!(futures::future::join_all(slow), async {
        // They hold all that large ones may have.
        tokio::time::sleep(ARRIVAL / 2).await;
        read(&intake, 100).await
    });
    for slow in slow {
        assert!(matches!(slow, Err(Unread::TooSlow)), "{slow:?}");
    }
    waited.unwrap();
    assert_eq!(started.elapsed().as_secs(), ARRIVAL.as_secs());
}

#[tokio::test(start_paused = true)]
async fn what_is_only_announced_takes_no_room() {
    let intake = Intake::new(LIMITS);
    let headers = announcing(100);
    let slow = (0..5).map(|_| intake.read(&headers, unfinished(0), far()));
    let slow = futures::future::join_all(slow);
    let (slow, quick) = tokio::join!(slow, read(&intake, 100));
    quick.unwrap();
    for slow in slow {
        assert!(matches!(slow, Err(Unread::TooSlow)), "{slow:?}");
    }
}

#[tokio::test]
async fn the_largest_body_always_finds_room() {
    let intake = Intake::new(BodyLimits { all: 1, ..LIMITS });
    read(&intake, 100).await.unwrap();
    let refused = read(&intake, 101).await.expect_err("it is too large");
    assert_eq!(refused.to_string(), "the body must be at most 100 bytes");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_refused() {
    let pieces = [Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))];
    let body = Body::from_stream(futures::stream::iter(pieces));
    let intake = Intake::new(LIMITS);
    let refused = intake.read(&HeaderMap::new(), body, far()).await;
    let Unread::Broken(why) = refused.expect_err("it is broken") else {
        panic!("it must be told as broken")
    };
    assert_eq!(why.to_string(), "gone");
}
