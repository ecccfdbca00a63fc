use std::{
    pin::pin,
    sync::atomic::{AtomicU32, Ordering},
};

use futures::{future::join_all, poll};
use tokio::{sync::Notify, time::advance};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Values below 100 are good for a minute, others are failures kept for two seconds.
fn memo() -> Memo<&'static str, u32> {
    Memo::new(100, 600 * SECOND, |value| {
        if *value < 100 {
            Keep::Good(60 * SECOND)
        } else {
            Keep::Bad(2 * SECOND)
        }
    })
}

async fn get(memo: &Memo<&'static str, u32>, max_age: Duration, found: u32) -> (u32, bool) {
    let hit = memo.get(&"key", max_age, |_| async move { found }).await;
    let hit = hit.unwrap();
    (hit.value, hit.cached)
}

fn behind(door: &Arc<Notify>, found: u32) -> impl Future<Output = u32> + Send + 'static {
    let door = Arc::clone(door);
    async move {
        door.notified().await;
        found
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_serves_up_to_its_readers_limit() {
    let memo = memo();
    assert_eq!(get(&memo, SECOND, 1).await, (1, false));
    advance(SECOND).await;
    assert_eq!(get(&memo, SECOND, 2).await, (1, true));
    advance(Duration::from_millis(1)).await;
    assert_eq!(get(&memo, SECOND, 3).await, (3, false));
}

#[tokio::test(start_paused = true)]
async fn zero_always_asks() {
    let memo = memo();
    assert_eq!(get(&memo, Duration::ZERO, 1).await, (1, false));
    assert_eq!(get(&memo, Duration::ZERO, 2).await, (2, false));
}

#[tokio::test(start_paused = true)]
async fn no_reader_gets_more_than_the_value_allows() {
    let memo = memo();
    assert_eq!(get(&memo, Duration::MAX, 1).await, (1, false));
    advance(Duration::from_millis(59_999)).await;
    assert_eq!(get(&memo, Duration::MAX, 2).await, (1, true));
    advance(Duration::from_millis(1)).await;
    assert_eq!(get(&memo, Duration::MAX, 3).await, (3, false));
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_kept_from_when_it_came() {
    let memo = memo();
    let slow = memo.get(&"key", SECOND, |_| async {
        tokio::time::sleep(10 * SECOND).await;
        100
    });
    assert_eq!(slow.await.unwrap().value, 100);
    assert_eq!(get(&memo, SECOND, 1).await, (100, true));
    advance(2 * SECOND).await;
    assert_eq!(get(&memo, 5 * SECOND, 2).await, (2, false));
}

#[tokio::test]
async fn equal_questions_are_asked_once() {
    let memo = memo();
    let asked = Arc::new(AtomicU32::new(0));
    let all = join_all((0..1000).map(|_| {
        let asked = Arc::clone(&asked);
        memo.get(&"key", SECOND, move |_| async move {
            tokio::task::yield_now().await;
            asked.fetch_add(1, Ordering::Relaxed)
        })
    }));
    assert!(all.await.into_iter().all(|hit| hit.unwrap().value == 0));
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_the_answer_from_nobody() {
    let (memo, open) = (memo(), Arc::new(Notify::new()));
    let mut first = Box::pin(memo.get(&"key", 60 * SECOND, |_| behind(&open, 7)));
    assert!(poll!(&mut first).is_pending());
    let mut second = pin!(memo.get(&"key", 60 * SECOND, |_| async { 8 }));
    assert!(poll!(&mut second).is_pending());
    drop(first);
    open.notify_one();
    assert_eq!(second.await.unwrap().value, 7);
}

#[tokio::test(start_paused = true)]
async fn a_flight_serves_only_those_who_allow_its_age() {
    let (memo, open) = (memo(), Arc::new(Notify::new()));
    let mut old = pin!(memo.get(&"key", SECOND, |_| behind(&open, 1)));
    assert!(poll!(&mut old).is_pending());
    advance(SECOND).await;
    let mut joined = pin!(memo.get(&"key", SECOND, |_| async { 2 }));
    assert!(poll!(&mut joined).is_pending());
    assert_eq!(get(&memo, Duration::ZERO, 3).await, (3, false));
    open.notify_one();
    assert_eq!(old.await.unwrap().value, 1);
    assert_eq!(joined.await.unwrap().value, 1);
    // The old flight landed last, but what it knows is older.
    assert_eq!(get(&memo, SECOND, 4).await, (3, true));
}

#[tokio::test]
async fn a_panic_is_an_error_once_and_not_a_hang() {
    let memo = memo();
    let fails = memo.get(&"key", SECOND, |_| async { panic!("on purpose") });
    assert_eq!(fails.await, Err(Aborted));
    assert_eq!(get(&memo, SECOND, 1).await, (1, false));
}

/// Returns how many of `count` answers of this many bytes are kept within the room of ten empty ones.
async fn kept(count: u32, bytes: usize) -> usize {
    let room = 10 * ENTRY_BYTES as u64;
    let keep = |_: &Vec<u8>| Keep::Good(Duration::MAX);
    let memo = Memo::weighed(room, 600 * SECOND, keep, |_: &u32, value| value.len());
    for key in 0..count {
        let hit = memo.get(&key, SECOND, |_| async move { vec![0; bytes] });
        assert_eq!(
            hit.await.unwrap().value.len(),
            bytes,
            "it is told, kept or not"
        );
        memo.slots.run_pending_tasks().await;
    }
    let mut kept = 0;
    for key in 0..count {
        kept += usize::from(memo.slots.contains_key(&key));
    }
    kept
}

#[tokio::test]
async fn answers_are_kept_up_to_their_weight_together() {
    assert_eq!(kept(10, 0).await, 10);
    assert_eq!(kept(100, 0).await, 10);
    assert_eq!(kept(100, ENTRY_BYTES).await, 5);
    assert_eq!(kept(1, 9 * ENTRY_BYTES).await, 1);
    assert_eq!(kept(1, 9 * ENTRY_BYTES + 1).await, 0);
}

#[tokio::test]
async fn the_last_answer_is_shown_to_the_next_question() {
    let memo = memo();
    get(&memo, SECOND, 5).await;
    let next = memo.get(
        &"key",
        Duration::ZERO,
        |last| async move { last.unwrap() + 1 },
    );
    assert_eq!(next.await.unwrap().value, 6);
}
