//! Where one term of leadership ends and another begins, and what is given back.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_term_that_was_lost_and_won_again_is_another_one() {
    let mut run = start();
    run.lead().await;
    let first = run.leadership.changed().borrow().unwrap();
    let (bound, mut changed) = (run.leadership.of_term(first), run.leadership.changed());
    assert!(bound.leads(Instant::now()));
    // It is renewed in time: the same one goes on.
    accept(run.fake.next().await.expect("PUT", PATH), 3);
    let overtaken = run.fake.next().await.expect("PUT", PATH);
    assert_eq!(*changed.borrow(), Some(first));
    overtaken.refuse(409, "Conflict");
    run.fake.next().await.reply(200, &lease("other", 7));
    run.fake
        .next()
        .await
        .expect("GET", PATH)
        .reply(200, &lease("", 8));
    accept(run.fake.next().await.expect("PUT", PATH), 9);
    soon(changed.wait_for(|term| term.is_some_and(|term| term != first)))
        .await
        .unwrap();
    assert!(run.leads() && !bound.leads(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_term_that_ran_out_is_not_renewed() {
    let mut run = start();
    run.lead().await;
    let mut changed = run.leadership.changed();
    let first = changed.borrow().unwrap();
    let bound = run.leadership.of_term(first);
    // Whoever was asleep finds its Lease as it was: nobody else wanted it.
    let renewal = run.fake.next().await.expect("PUT", PATH);
    tokio::time::advance(11 * SECOND).await;
    drop(renewal);
    assert!(!bound.leads(Instant::now()));
    accept(run.fake.next().await.expect("PUT", PATH), 3);
    soon(changed.wait_for(|term| term.is_some_and(|term| term != first)))
        .await
        .unwrap();
    assert!(run.leads() && !bound.leads(Instant::now()));
}

#[tokio::test(start_paused = true)]
async fn a_first_claim_under_way_is_given_back_if_it_came_through() {
    for holder in ["me", "other"] {
        let mut run = start();
        run.fake.next().await.reply(200, &lease("", 1));
        let claim = run.fake.next().await.expect("PUT", PATH);
        run.stop.send(()).unwrap();
        let look = run.fake.next().await.expect("GET", PATH);
        drop(claim);
        look.reply(200, &lease(holder, 2));
        if holder == "me" {
            let put = run.fake.next().await.expect("PUT", PATH);
            assert_eq!(put.body["spec"]["holderIdentity"], "");
            accept(put, 3);
        }
        soon(run.task).await.unwrap();
        assert!(run.fake.is_quiet());
    }
}

#[tokio::test(start_paused = true)]
async fn who_makes_a_lease_that_was_deleted_succeeds_another() {
    let mut run = start();
    let look = run.fake.next().await.expect("GET", PATH);
    look.reply(200, &lease("other", 1));
    let look = run.fake.next().await.expect("GET", PATH);
    look.refuse(404, "NotFound");
    let collection = PATH.trim_end_matches("/podrefresh");
    accept(run.fake.next().await.expect("POST", collection), 1);
    soon(run.leadership.changed().wait_for(Option::is_some))
        .await
        .unwrap();
    assert!(run.leads() && run.leadership.succeeds());
}
