//! Watches: a stream of changes as lines of JSON.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::accept::{self, Form};
use super::reply::Reply;
use super::request::Request;
use super::{Server, object_reply, shell, table};
use crate::api::{
    ApiError, Cause, Change, ChangeKind, FieldSelector, LabelSelector, Resource, Subscription,
    TooOld, object,
};

// Without timeoutSeconds the real server picks a time between 30 and 60 minutes.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(45 * 60);
// The last bookmark comes this long before the end.
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

struct Watch {
    resource: &'static Resource,
    namespace: String,
    labels: LabelSelector,
    fields: FieldSelector,
    form: Form,
    with_object: bool,
    bookmarks: bool,
    table_started: bool,
    lines: mpsc::Sender<Bytes>,
    /// The revision up to which the client has been told everything.
    seen: u64,
    /// The revision it started from.
    started: u64,
}

/// Opens a watch.
pub(super) fn open(
    server: &Arc<Server>,
    resource: &'static Resource,
    request: &Request,
) -> Result<Reply, ApiError> {
    let (labels, fields) = request.selectors(resource)?;
    let timeout = request
        .query
        .whole("timeoutSeconds")?
        .filter(|seconds| *seconds > 0);
    let timeout = timeout.map_or(DEFAULT_TIMEOUT, |seconds| {
        Duration::from_secs(seconds as u64)
    });
    let initial = request
        .query
        .get("sendInitialEvents")
        .map(|value| value == "true" || value == "1");
    check_initial(request, initial)?;
    let version = request.resource_version().map_err(ApiError::internal)?;
    let (lines, receiver) = mpsc::channel(64);
    let watch = Watch {
        resource,
        namespace: request.namespace(resource).to_owned(),
        labels,
        fields,
        form: accept::form(request.header("accept"))?,
        with_object: request.query.get("includeObject") != Some("None"),
        bookmarks: request.query.flag("allowWatchBookmarks"),
        table_started: false,
        lines,
        seen: 0,
        started: 0,
    };
    let drops = server.faults.watch_drops();
    let interval = server.bookmark_interval();
    let from_now = initial == Some(true) || (initial.is_none() && version.unwrap_or(0) == 0);
    let started = if from_now {
        let (objects, revision, changes) = server.api.store.list_and_subscribe(resource);
        Ok((
            Start::Objects {
                objects,
                revision,
                ends_with_bookmark: initial == Some(true),
            },
            changes,
        ))
    } else {
        let from = version
            .filter(|version| *version > 0)
            .unwrap_or_else(|| server.api.store.revision());
        server
            .api
            .store
            .subscribe_after(from)
            .map(|(missed, changes)| (Start::Changes { missed, from }, changes))
    };
    tokio::spawn(async move {
        match started {
            Ok((start, changes)) => watch.run(start, changes, drops, timeout, interval).await,
            Err(TooOld(oldest)) => {
                let message = format!(
                    "too old resource version: {} ({oldest})",
                    version.unwrap_or(0)
                );
                let status = ApiError::new(410, "Expired", message).to_status();
                watch.send("ERROR", &status).await;
            }
        }
    });
    Ok(Reply::stream(receiver))
}

fn check_initial(request: &Request, initial: Option<bool>) -> Result<(), ApiError> {
    let matching = request.query.get("resourceVersionMatch");
    if initial.is_none() || matching == Some("NotOlderThan") {
        return Ok(());
    }
    let field = "resourceVersionMatch";
    let message =
        "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
    let mut causes = vec![Cause::new("FieldValueForbidden", message, field)];
    if let Some(other) = matching {
        let message = format!("Unsupported value: {other:?}: supported values: \"NotOlderThan\"");
        causes.push(Cause::new("FieldValueNotSupported", message, field));
    }
    Err(ApiError::invalid_kind(
        "meta.k8s.io",
        "ListOptions",
        "",
        &causes,
    ))
}

enum Start {
    Objects {
        objects: Vec<Arc<Value>>,
        revision: u64,
        ends_with_bookmark: bool,
    },
    Changes {
        missed: Vec<Change>,
        from: u64,
    },
}

impl Watch {
    async fn run(
        mut self,
        start: Start,
        mut changes: Subscription,
        mut drops: tokio::sync::watch::Receiver<u64>,
        timeout: Duration,
        interval: Duration,
    ) {
        let end = Instant::now() + timeout;
        if !self.begin(start).await {
            return;
        }
        let mut next_bookmark = Instant::now() + interval;
        let mut last_bookmark = (timeout > BOOKMARK_BEFORE_END).then(|| end - BOOKMARK_BEFORE_END);
        let lines = self.lines.clone();
        loop {
            let bookmark_at = last_bookmark.map_or(next_bookmark, |last| last.min(next_bookmark));
            tokio::select! {
                // Changes first, so that a bookmark never runs ahead of one.
                biased;
                () = lines.closed() => return,
                change = changes.next() => {
                    let Some(change) = change else { return };
                    if !self.pass_on(&change).await {
                        return;
                    }
                }
                _ = drops.changed() => return,
                () = tokio::time::sleep_until(end) => return,
                () = tokio::time::sleep_until(bookmark_at), if self.bookmarks => {
                    let now = Instant::now();
                    let is_last = last_bookmark.is_some_and(|last| last <= now);
                    if is_last {
                        last_bookmark = None;
                    }
                    if next_bookmark <= now {
                        next_bookmark = now + interval;
                    }
                    // A watch that has seen nothing ends without a last bookmark.
                    let wanted = !is_last || self.seen > self.started;
                    if wanted && !self.bookmark(None).await {
                        return;
                    }
                }
            }
        }
    }

    async fn begin(&mut self, start: Start) -> bool {
        match start {
            Start::Objects {
                objects,
                revision,
                ends_with_bookmark,
            } => {
                (self.seen, self.started) = (revision, revision);
                for object in objects {
                    if self.chooses(&object) && !self.event("ADDED", &object).await {
                        return false;
                    }
                }
                !(ends_with_bookmark && self.bookmarks)
                    || self.bookmark(Some("k8s.io/initial-events-end")).await
            }
            Start::Changes { missed, from } => {
                (self.seen, self.started) = (from, from);
                for change in missed {
                    if !self.pass_on(&change).await {
                        return false;
                    }
                }
                true
            }
        }
    }

    fn chooses(&self, object: &Value) -> bool {
        (self.namespace.is_empty() || self.namespace == object::namespace(object))
            && self.labels.selects(object)
            && self.fields.selects(self.resource, object)
    }

    // What enters or leaves the selection is new or gone to this client.
    async fn pass_on(&mut self, change: &Change) -> bool {
        if change.revision <= self.seen {
            return true;
        }
        self.seen = change.revision;
        if change.resource != self.resource.storage() {
            return true;
        }
        let before = change.before.as_ref().filter(|before| self.chooses(before));
        let is_chosen = change.kind != ChangeKind::Deleted && self.chooses(&change.object);
        match (before, is_chosen) {
            (None, false) => true,
            (None, true) => self.event("ADDED", &change.object).await,
            (Some(_), true) => self.event("MODIFIED", &change.object).await,
            (Some(before), false) => {
                let mut last = (**before).clone();
                last["metadata"]["resourceVersion"] = json!(change.revision.to_string());
                self.event("DELETED", &last).await
            }
        }
    }

    async fn event(&mut self, kind: &str, stored: &Value) -> bool {
        let shown = match self.form {
            Form::Object | Form::Discovery => object_reply::shown(self.resource, stored),
            Form::Metadata => object_reply::metadata_only(stored),
            Form::Table => {
                let table =
                    table::of_one(self.resource, stored, self.with_object, !self.table_started);
                self.table_started = true;
                table
            }
        };
        self.send(kind, &shown).await
    }

    async fn bookmark(&mut self, mark: Option<&str>) -> bool {
        let mut shell = match self.form {
            Form::Metadata => {
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {} })
            }
            _ => shell::of(self.resource),
        };
        shell["metadata"]["resourceVersion"] = json!(self.seen.to_string());
        if let Some(mark) = mark {
            shell["metadata"]["annotations"][mark] = json!("true");
        }
        if self.form == Form::Table {
            shell = table::of_one(self.resource, &shell, self.with_object, !self.table_started);
            shell["rows"] = json!([{ "cells": [], "object": shell["rows"][0]["object"] }]);
        }
        self.send("BOOKMARK", &shell).await
    }

    async fn send(&self, kind: &str, object: &Value) -> bool {
        let mut line = serde_json::to_vec(&json!({ "type": kind, "object": object }))
            .expect("an event must serialise");
        line.push(b'\n');
        self.lines.send(line.into()).await.is_ok()
    }
}
