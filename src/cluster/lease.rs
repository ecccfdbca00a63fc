//! Which replica leads: one Lease, renewed by its holder, taken over when it has stood still too long.
//!
//! As in client-go, a lease expires by the time that *we* have seen it unchanged, never by the clock that
//! is written in it. The leader counts from the moment before it asked for a renewal and gives up at two
//! thirds of the lease, so that what it began last is over before anybody else can lead.

use std::{
    pin::pin,
    time::{Duration, SystemTime},
};

use hyper::Method;
use prometheus_client::metrics::gauge::Gauge;
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use tracing::{debug, info, warn};

use super::{
    call::{Media, Segment, Server, decode},
    record::Record,
    refusal::CallError,
};
use crate::error::Chain;

/// How an election is held.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The Lease's namespace.
    pub namespace: String,
    /// The Lease's name.
    pub name: String,
    /// Who we are; no two processes may share it (see [`identity`]).
    pub identity: String,
    /// How long a Lease that nobody renews is respected: whole seconds, at least one.
    pub duration: Duration,
    /// Is 1 while we lead.
    pub gauge: Gauge,
}

impl Settings {
    /// Returns how long after a renewal we lead.
    fn term(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// Returns how long what was begun while leading may take at most, to be over before anybody
    /// else can lead.
    pub fn margin(&self) -> Duration {
        self.duration - self.term()
    }

    /// Returns the pause between attempts: five in each term.
    fn pause(&self) -> Duration {
        let pause = self.duration * 2 / 15;
        // Jitter, so that replicas that started together do not collide for ever.
        pause.mul_f64(1.0 + fastrand::f64() * 0.2)
    }

    /// Returns how long the API server may take for an answer: three calls that hang fit in a term.
    fn call(&self) -> Duration {
        self.term() / 3
    }
}

/// Returns an identity that no other process has: the host's name and chance.
pub fn identity(host: &str) -> String {
    format!("{host}_{:016x}", fastrand::u64(..))
}

/// Whether this process leads; a clone tells the same.
#[derive(Debug, Clone)]
pub struct Leadership {
    term: Option<watch::Receiver<Option<Term>>>,
    leads: watch::Receiver<bool>,
}

/// The time for which we lead without asking again.
#[derive(Debug, Clone, Copy)]
struct Term {
    until: Instant,
    // A machine that was suspended finds its steady clock as it was, but not the one on the wall.
    wall_until: SystemTime,
}

impl Leadership {
    /// Returns the leadership of the only replica.
    pub fn always() -> Self {
        let (_, leads) = watch::channel(true);
        Self { term: None, leads }
    }

    /// Says whether we lead at `now`. Ask right before each act that only the leader may do.
    pub fn leads(&self, now: Instant) -> bool {
        !self.time_left(now).is_zero()
    }

    /// Returns for how long we lead at least: zero if we do not.
    pub fn time_left(&self, now: Instant) -> Duration {
        let Some(term) = &self.term else {
            return Duration::MAX;
        };
        match *term.borrow() {
            Some(term) if SystemTime::now() < term.wall_until => {
                term.until.saturating_duration_since(now)
            }
            _ => Duration::ZERO,
        }
    }

    /// Returns whether we lead, for waking up when it changes; `leads` alone is exact.
    pub fn changed(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }
}

/// One candidate.
#[derive(Debug)]
struct Candidate {
    server: Server,
    settings: Settings,
    term: watch::Sender<Option<Term>>,
    leads: watch::Sender<bool>,
    seen: Option<Seen>,
    trouble: bool,
}

/// The Lease as last seen.
#[derive(Debug)]
struct Seen {
    record: Record,
    /// When we saw that it had changed.
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
    let (leads, leads_receiver) = watch::channel(false);
    let leadership = Leadership {
        term: Some(term_receiver),
        leads: leads_receiver,
    };
    let candidate = Candidate {
        server,
        settings,
        term,
        leads,
        seen: None,
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
                sleep(self.settings.pause()).await;
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
                let spent = start.elapsed();
                self.term.send_replace(Some(Term {
                    until: start + term,
                    wall_until: SystemTime::now() + term.saturating_sub(spent),
                }));
                self.trouble = false;
            }
            Ok(Attempt::Other) => {
                self.term.send_replace(None);
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

    /// Tells whether we lead now; `cause` is why not, unless we give up ourselves.
    fn publish(&self, cause: Option<&str>) {
        let now = Instant::now();
        let leads = (*self.term.borrow()).is_some_and(|term| now < term.until);
        let changed = self
            .leads
            .send_if_modified(|it| std::mem::replace(it, leads) != leads);
        if changed {
            self.settings.gauge.set(i64::from(leads));
            match (leads, cause) {
                (true, _) => info!("Became the leader as {}", self.settings.identity),
                (false, Some(cause)) => warn!("Stopped leading: {cause}"),
                (false, None) => info!("Stopped leading"),
            }
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
        match self.put(record).await {
            Err(error) if error.code() == 409 => Ok(Attempt::Other),
            done => done,
        }
    }

    /// Writes the Lease as ours; the API server refuses it if somebody has changed it meanwhile.
    async fn put(&mut self, record: Record) -> Result<Attempt, CallError> {
        let (start, path) = (Instant::now(), self.path());
        let body = record.claimed(&self.settings.identity, self.settings.duration);
        let limit = self.settings.call();
        let answer = self
            .server
            .send(Method::PUT, &path, Media::Json, &body, limit)
            .await?;
        self.see(Record::new(decode(&answer)?), Instant::now());
        Ok(Attempt::Held(start))
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
        let body = empty.claimed(&self.settings.identity, self.settings.duration);
        let path = self.collection();
        let limit = self.settings.call();
        match self
            .server
            .send(Method::POST, &path, Media::Json, &body, limit)
            .await
        {
            Ok(answer) => {
                self.see(Record::new(decode(&answer)?), Instant::now());
                Ok(Attempt::Held(start))
            }
            Err(error) if error.code() == 409 => Ok(Attempt::Other),
            Err(error) => Err(error),
        }
    }

    /// Remembers the Lease, and since when it is as it is.
    fn see(&mut self, record: Record, now: Instant) {
        let same =
            (self.seen.as_ref()).is_some_and(|seen| seen.record.version() == record.version());
        let changed = match &self.seen {
            Some(seen) if same => seen.changed,
            _ => now,
        };
        self.seen = Some(Seen { record, changed });
    }

    /// Gives the Lease back, if it is ours.
    async fn release(mut self) {
        self.term.send_replace(None);
        self.publish(None);
        let (path, limit) = (self.path(), self.settings.call());
        let Some(Seen { mut record, .. }) = self.seen.take() else {
            return;
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

#[cfg(test)]
mod tests;
