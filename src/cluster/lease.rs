//! Which replica leads: one Lease, renewed by its holder, taken over when it has stood still too long.
//!
//! As in client-go, a lease expires by the time that *we* have seen its claim unchanged, never by the clock that
//! is written in it. The leader counts from the moment before it asked for a renewal and gives up at two
//! thirds of the lease, so that what it began last is over before anybody else can lead.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hyper::Method;
use serde_json::{Value, json};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use super::{
    call::{Media, Segment, Server, decode},
    record::Record,
    refusal::CallError,
};
use crate::error::Chain;

mod leadership;
mod settings;

use self::leadership::Term;
pub use self::{
    leadership::{Leader, Leadership, Reins},
    settings::{LEASE, Settings, identity},
};

/// The least time from one look at the Lease until it is looked at again because somebody asks for that.
const HASTE: Duration = Duration::from_secs(1);

/// One candidate.
#[derive(Debug)]
struct Candidate {
    server: Server,
    settings: Settings,
    term: watch::Sender<Option<Term>>,
    leads: watch::Sender<Option<u64>>,
    /// Where another one that leads takes notifications.
    leader: watch::Sender<Option<SocketAddr>>,
    /// Told when somebody wants to know sooner who leads.
    hurry: Arc<Notify>,
    seen: Option<Seen>,
    /// Whether we asked for the Lease and do not know what came of it.
    asked: bool,
    /// Whether we have made the Lease that we hold, so that nobody has led by it before.
    is_founder: bool,
    /// The number of the last term, while there is none.
    last: Option<u64>,
    trouble: bool,
}

/// The Lease as last seen.
#[derive(Debug)]
struct Seen {
    record: Record,
    /// When we saw that somebody had claimed or renewed it.
    changed: Instant,
}

/// What an attempt came to.
#[derive(Debug)]
enum Attempt {
    /// We hold the Lease; the instant is from before it was renewed.
    Held(Instant),
    /// Somebody else does.
    Other,
}

/// Returns the leadership and the task that stands for election until `stop`.
///
/// The task then gives the Lease back, so that another replica need not wait. What only the leader may
/// do must have ended before `stop`.
pub fn elect(
    server: Server,
    settings: Settings,
    stop: impl Future<Output = ()> + Send,
) -> (Leadership, impl Future<Output = ()> + Send) {
    let (term, term_receiver) = watch::channel(None);
    let (leads, leads_receiver) = watch::channel(None);
    let (leader, leader_receiver) = watch::channel(None);
    let hurry = Arc::new(Notify::new());
    let other = Leader::new(leader_receiver, Arc::clone(&hurry));
    let leadership = Leadership::new(term_receiver, leads_receiver, other);
    let candidate = Candidate {
        server,
        settings,
        term,
        leads,
        leader,
        hurry,
        seen: None,
        asked: false,
        is_founder: false,
        last: None,
        trouble: false,
    };
    (leadership, candidate.run(stop))
}

impl Candidate {
    async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = pin!(stop);
        let standing = async {
            loop {
                let attempt = self.attempt().await;
                self.conclude(attempt);
                let hurried = async {
                    sleep(HASTE).await;
                    self.hurry.notified().await;
                };
                tokio::select! {
                    () = sleep(self.settings.pause()) => {}
                    () = hurried => {}
                }
            }
        };
        tokio::select! {
            () = standing => {}
            () = &mut stop => {}
        }
        self.release().await;
    }

    /// Publishes what an attempt came to.
    fn conclude(&mut self, attempt: Result<Attempt, CallError>) {
        let mut cause = String::from("the lease was not renewed in time");
        match attempt {
            Ok(Attempt::Held(start)) => {
                let term = self.settings.term();
                let (spent, wall) = (start.elapsed(), SystemTime::now());
                let number = self.number(start, wall);
                self.term.send_replace(Some(Term {
                    number,
                    until: start + term,
                    wall_until: wall + term.saturating_sub(spent),
                    succeeds: !self.is_founder || 0 < number,
                }));
                self.trouble = false;
            }
            Ok(Attempt::Other) => {
                self.end_term();
                self.trouble = false;
                let holder = self.seen.as_ref().map_or("", |seen| seen.record.holder());
                debug!(holder, "The lease is held by {holder:?}");
                cause = format!("{holder:?} leads");
            }
            Err(error) => {
                // Nobody has taken the Lease from us yet, as far as we know: the term runs on.
                cause = Chain(&error).to_string();
                if !std::mem::replace(&mut self.trouble, true) {
                    warn!(error = %cause, "No lease, trying again: {cause}");
                }
            }
        }
        self.publish(Some(&cause));
    }

    /// Returns the number of the term that a renewal asked for at `start` belongs to; it is `wall` now.
    ///
    /// Whoever was asleep, or waited too long for the API server, begins a new one: others may have led meanwhile.
    fn number(&self, start: Instant, wall: SystemTime) -> u64 {
        match *self.term.borrow() {
            Some(term) if !term.time_left(start, wall).is_zero() => term.number,
            Some(term) => term.number + 1,
            None => self.last.map_or(0, |last| last + 1),
        }
    }

    /// Ends the term at once.
    fn end_term(&mut self) {
        if let Some(term) = self.term.send_replace(None) {
            self.last = Some(term.number);
        }
    }

    /// Tells whether we lead now; `cause` is why not, unless we give up ourselves.
    fn publish(&self, cause: Option<&str>) {
        let now = Instant::now();
        let term = (*self.term.borrow()).filter(|term| now < term.until);
        let leads = term.map(|term| term.number);
        let before = self.leads.send_replace(leads);
        if before == leads {
            return;
        }
        self.settings.gauge.set(i64::from(leads.is_some()));
        match (leads, cause) {
            (Some(_), _) if before.is_some() => {
                info!("Leads anew as {}", self.settings.identity);
            }
            (Some(_), _) => info!("Became the leader as {}", self.settings.identity),
            (None, Some(cause)) => warn!("Stopped leading: {cause}"),
            (None, None) => info!("Stopped leading"),
        }
    }

    /// Renews the Lease, or takes it if it is free or has expired.
    async fn attempt(&mut self) -> Result<Attempt, CallError> {
        let me = &self.settings.identity;
        if let Some(seen) = self.seen.as_ref().filter(|seen| seen.record.holder() == me) {
            let record = seen.record.clone();
            match self.put(record).await {
                // Changed by somebody: look what it is now.
                Err(error) if matches!(error.code(), 404 | 409) => {}
                done => return done,
            }
        }
        let body = match self.server.get(&self.path(), self.settings.call()).await {
            Ok(body) => body,
            Err(error) if error.code() == 404 => return self.create().await,
            Err(error) => return Err(error),
        };
        let now = Instant::now();
        let record = Record::new(decode(&body)?);
        self.see(record.clone(), now);
        let changed = self.seen.as_ref().map_or(now, |seen| seen.changed);
        let holder = record.holder();
        let free = holder.is_empty() || holder == self.settings.identity;
        if !free && now < changed + record.duration() {
            return Ok(Attempt::Other);
        }
        self.is_founder &= holder == self.settings.identity;
        match self.put(record).await {
            Err(error) if error.code() == 409 => Ok(Attempt::Other),
            done => done,
        }
    }

    /// Writes the Lease as ours; the API server refuses it if somebody has changed it meanwhile.
    async fn put(&mut self, record: Record) -> Result<Attempt, CallError> {
        let (start, path) = (Instant::now(), self.path());
        let body = self.claim(&record);
        let limit = self.settings.call();
        self.asked = true;
        let answer = self
            .server
            .send(Method::PUT, &path, Media::Json, &body, limit)
            .await;
        self.asked = is_silence(&answer);
        let answer = answer?;
        self.see(Record::new(decode(&answer)?), Instant::now());
        Ok(Attempt::Held(start))
    }

    /// Returns the Lease as ours.
    fn claim(&self, record: &Record) -> Value {
        let Settings {
            identity,
            duration,
            notify_address,
            ..
        } = &self.settings;
        record.claimed(identity, *duration, *notify_address)
    }

    async fn create(&mut self) -> Result<Attempt, CallError> {
        let start = Instant::now();
        let Settings {
            namespace, name, ..
        } = &self.settings;
        let empty = Record::new(json!({
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": name, "namespace": namespace},
        }));
        let body = self.claim(&empty);
        let path = self.collection();
        let limit = self.settings.call();
        self.asked = true;
        let answer = self
            .server
            .send(Method::POST, &path, Media::Json, &body, limit)
            .await;
        self.asked = is_silence(&answer);
        match answer {
            Ok(answer) => {
                // A Lease that somebody deleted had a leader before us.
                self.is_founder = self.seen.is_none();
                self.see(Record::new(decode(&answer)?), Instant::now());
                Ok(Attempt::Held(start))
            }
            Err(error) if error.code() == 409 => Ok(Attempt::Other),
            Err(error) => Err(error),
        }
    }

    /// Remembers the Lease, and since when its claim is what it is.
    fn see(&mut self, record: Record, now: Instant) {
        let changed = match &self.seen {
            Some(seen) if seen.record.is_same_claim(&record) => seen.changed,
            _ => now,
        };
        let is_other = record.holder() != self.settings.identity;
        let leader = record.notify_address().filter(|_| is_other);
        self.leader.send_if_modified(|known| {
            let is_news = *known != leader;
            *known = leader;
            is_news
        });
        self.seen = Some(Seen { record, changed });
    }

    /// Gives the Lease back, if it is ours.
    async fn release(mut self) {
        self.end_term();
        self.publish(None);
        let (path, limit) = (self.path(), self.settings.call());
        let seen = self.seen.take().map(|seen| seen.record);
        let ours = seen.filter(|record| record.holder() == self.settings.identity);
        let mut record = match ours {
            Some(record) => record,
            // Our first claim was under way: it may have come through.
            None if self.asked => match self.server.get(&path, limit).await {
                Ok(body) => match decode(&body) {
                    Ok(newest) => Record::new(newest),
                    Err(_) => return,
                },
                Err(_) => return,
            },
            None => return,
        };
        while record.holder() == self.settings.identity {
            let body: Value = record.released();
            match self
                .server
                .send(Method::PUT, &path, Media::Json, &body, limit)
                .await
            {
                Ok(_) => return info!("Gave the lease back"),
                // Our own last renewal may have been under way: once it is known, this comes through.
                Err(error) if error.code() == 409 => {}
                // It expires by itself.
                Err(error) => return info!("Could not give the lease back: {}", Chain(&error)),
            }
            match self
                .server
                .get(&path, limit)
                .await
                .and_then(|body| decode(&body))
            {
                Ok(newer) => record = Record::new(newer),
                Err(error) => return info!("Could not give the lease back: {}", Chain(&error)),
            }
        }
    }

    fn collection(&self) -> String {
        let namespace = Segment(&self.settings.namespace);
        format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases")
    }

    fn path(&self) -> String {
        format!("{}/{}", self.collection(), Segment(&self.settings.name))
    }
}

/// Says whether nobody knows what an answer to a write came to.
fn is_silence<T>(answer: &Result<T, CallError>) -> bool {
    matches!(answer, Err(error) if error.code() == 0 || 500 <= error.code())
}

#[cfg(test)]
mod tests;
