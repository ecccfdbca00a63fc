//! A list that a watch keeps current, for as long as the program runs.

use std::{convert::Infallible, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout_at};
use tracing::{debug, info, warn};
use url::form_urlencoded;

use super::{
    cache::{Kept, Writer},
    call::{PAGE_LIMIT, Server, decode},
    lenient::{List, Object, Text},
    refusal::{CallError, RawStatus},
};
use crate::error::Chain;

/// A page of 500 big pods takes a busy API server some seconds.
pub(super) const PAGE_TIME: Duration = Duration::from_secs(60);
// The API server answers a watch's head at once; client-go gives it as long.
const OPEN_TIME: Duration = Duration::from_secs(30);
// A watch is ended by the API server after this long, and up to a half more.
const WATCH_TIME: Duration = Duration::from_secs(120);
const WATCH_GRACE: Duration = Duration::from_secs(10);
// API servers send a bookmark a minute where nothing happens.
const WATCH_SILENCE: Duration = Duration::from_secs(90);
// Watches that end sooner than this are not worth opening again at once.
const SHORT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Which objects to watch.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    /// The API server.
    pub(super) server: Server,
    /// The collection's path: `/api/v1/pods`.
    pub(super) path: String,
    /// A label selector.
    pub(super) selector: Option<String>,
    /// How many objects a page of the list has.
    pub(super) page: usize,
}

/// What kubectl and client-go ask for.
pub(super) const PAGE: usize = 500;

/// Why a list cannot be had: something that does not heal by itself.
#[derive(Debug, thiserror::Error)]
#[error("cannot list {what}")]
pub struct WatchError {
    /// What was to be listed.
    what: &'static str,
    /// Why not.
    source: CallError,
}

/// A page of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "T: Deserialize<'de> + Default"))]
pub(super) struct Page<'a, T> {
    #[serde(borrow)]
    pub(super) metadata: Object<PageMeta<'a>>,
    pub(super) items: List<Object<T>>,
}

/// The metadata of a page.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct PageMeta<'a> {
    #[serde(borrow)]
    resource_version: Text<'a>,
    /// Where the next page begins; empty on the last.
    #[serde(borrow, rename = "continue")]
    pub(super) next: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, bound(deserialize = "T: Deserialize<'de> + Default"))]
struct Event<'a, T> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    object: Object<T>,
}

impl Feed {
    /// Keeps the cache current; returns only when the first list is refused for good.
    ///
    /// Later refusals are waited out: rights can be given back, and the admission side lives on.
    pub(super) async fn follow<T: Kept>(
        self,
        mut writer: Writer<T>,
    ) -> Result<Infallible, WatchError> {
        let mut version = None;
        let mut complete = false;
        let mut trouble = Trouble::new(T::WHAT);
        loop {
            let started = Instant::now();
            let step = match &mut version {
                None => match self.list(&mut writer).await {
                    Ok(listed) => {
                        version = Some(listed);
                        complete = true;
                        trouble.over();
                        writer.see(true);
                        continue;
                    }
                    Err(error) => Err(error),
                },
                Some(version) => self.watch(&mut writer, version, &mut trouble).await,
            };
            let pause = match step {
                Ok(()) if started.elapsed() >= SHORT => {
                    trouble.rest();
                    continue;
                }
                Ok(()) => trouble.pause(None),
                Err(error) if is_lost(&error, version.is_some()) => {
                    debug!("Listing {} again: {}", T::WHAT, Chain(&error));
                    version = None;
                    trouble.pause(None)
                }
                Err(source) if !complete && !source.is_transient() => {
                    return Err(WatchError {
                        what: T::WHAT,
                        source,
                    });
                }
                Err(error) => {
                    trouble.begin(&error);
                    writer.lose(Chain(&error).to_string());
                    trouble.pause(error.refusal().and_then(|it| it.retry_after))
                }
            };
            writer.see(false);
            sleep(pause).await;
        }
    }

    /// Lists everything page by page and returns the resourceVersion to watch from.
    async fn list<T: Kept>(&self, writer: &mut Writer<T>) -> Result<String, CallError> {
        let started = Instant::now();
        let mut limit = self.page;
        let mut next = String::new();
        writer.restart();
        loop {
            let limit_text = limit.to_string();
            let path = self.query(&[("limit", &limit_text), ("continue", &next)]);
            let body = match self.server.page(&path, PAGE_TIME).await {
                Err(CallError::Oversized(_)) if limit > 1 => {
                    limit = (limit / 8).max(1);
                    debug!(
                        "A page of {} is over {PAGE_LIMIT} bytes, trying {limit}",
                        T::WHAT
                    );
                    continue;
                }
                answer => answer?,
            };
            let page: Page<'_, T::Raw<'_>> = decode(&body)?;
            for Object(object) in &page.items.0 {
                writer.listed(object);
            }
            let meta = page.metadata.0;
            if meta.next.as_str().is_empty() {
                let count = writer.complete();
                let duration_ms = started.elapsed().as_millis();
                info!(duration_ms, "Listed {count} {}", T::WHAT);
                return Ok(meta.resource_version.as_str().to_owned());
            }
            next = meta.next.as_str().to_owned();
        }
    }

    /// Watches from `version`, which moves on with each event, until the stream ends.
    async fn watch<T: Kept>(
        &self,
        writer: &mut Writer<T>,
        version: &mut String,
        trouble: &mut Trouble,
    ) -> Result<(), CallError> {
        // Jitter, so that replicas do not march in step.
        let time = WATCH_TIME.mul_f64(1.0 + fastrand::f64() / 2.0);
        let path = self.query(&[
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("resourceVersion", version),
            ("timeoutSeconds", &time.as_secs().to_string()),
        ]);
        let until = Instant::now() + time + WATCH_GRACE;
        let mut lines = Lines::new(self.server.open(&path, OPEN_TIME).await?);
        trouble.over();
        writer.see(true);
        loop {
            // A stream that is silent for long, or past its end, has lost its connection.
            let patience = until.min(Instant::now() + WATCH_SILENCE);
            let Ok(line) = timeout_at(patience, lines.next()).await else {
                writer.see(false);
                return Ok(());
            };
            let Some(line) = line? else {
                return Ok(());
            };
            take(writer, version, &line)?;
        }
    }

    fn query(&self, parameters: &[(&str, &str)]) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let selector = self.selector.as_deref().unwrap_or_default();
        for (name, value) in parameters.iter().chain(&[("labelSelector", selector)]) {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        format!("{}?{}", self.path, query.finish())
    }
}

/// Says whether the place in the history of events is lost, so that only a new list helps.
fn is_lost(error: &CallError, watching: bool) -> bool {
    match error {
        CallError::Refused(refusal) => refusal.is_expired(),
        CallError::Malformed(_) | CallError::Oversized(_) => watching,
        _ => false,
    }
}

fn take<T: Kept>(
    writer: &mut Writer<T>,
    version: &mut String,
    line: &[u8],
) -> Result<(), CallError> {
    let event: Event<'_, T::Raw<'_>> = decode(line)?;
    let object = &event.object.0;
    match event.kind.as_str() {
        "ADDED" | "MODIFIED" => writer.applied(object),
        "DELETED" => writer.deleted(object),
        "BOOKMARK" => {}
        "ERROR" => {
            let event: Event<'_, RawStatus<'_>> = decode(line)?;
            let refusal = event.object.0.refusal(0, None);
            return Err(CallError::Refused(Box::new(refusal)));
        }
        // An event of a later API: nothing that we know how to act on.
        _ => return Ok(()),
    }
    if let Some(newer) = T::version(object) {
        newer.clone_into(version);
    }
    Ok(())
}

/// The lines of a stream.
struct Lines {
    body: Body,
    buffer: BytesMut,
    searched: usize,
}

impl Lines {
    fn new(body: Body) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            searched: 0,
        }
    }

    /// Returns the next whole line; `None` at the end, also when the connection breaks.
    async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        loop {
            let end = self.buffer[self.searched..]
                .iter()
                .position(|&byte| byte == b'\n');
            if let Some(end) = end {
                let line = self.buffer.split_to(self.searched + end + 1).freeze();
                self.searched = 0;
                return Ok(Some(line));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > PAGE_LIMIT {
                return Err(CallError::Oversized(PAGE_LIMIT));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self.buffer.extend(frame.into_data()),
                // What goes on is asked for again; if nobody answers that, it is said then.
                Some(Err(_)) | None => return Ok(None),
            }
        }
    }
}

/// Whether the watch works: says so once per change, and how long to wait.
struct Trouble {
    what: &'static str,
    since: Option<Instant>,
    pauses: ExponentialBackoff,
}

impl Trouble {
    fn new(what: &'static str) -> Self {
        Self {
            what,
            since: None,
            pauses: pauses(),
        }
    }

    fn begin(&mut self, error: &CallError) {
        let what = self.what;
        if self.since.is_none() {
            self.since = Some(Instant::now());
            warn!(error = %Chain(error), "Lost sight of {what}, trying again: {}", Chain(error));
        } else {
            debug!(error = %Chain(error), "Still no sight of {what}: {}", Chain(error));
        }
    }

    fn over(&mut self) {
        if let Some(since) = self.since.take() {
            let seconds = since.elapsed().as_secs();
            info!("Saw {} again after {seconds} s", self.what);
            self.rest();
        }
    }

    /// Returns how long to wait now: longer each time until `rest`, and at least `asked`.
    fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.pauses.next().unwrap_or(LONGEST_PAUSE);
        pause.max(asked.unwrap_or_default().min(LONGEST_PAUSE))
    }

    fn rest(&mut self) {
        self.pauses = pauses();
    }
}

fn pauses() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .without_max_times()
        .with_jitter()
        .build()
}

#[cfg(test)]
mod tests;
