//! Reads the bodies of requests: each bounded, all together bounded, none waited for too long.

use std::sync::Arc;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header},
};
use bytes::BytesMut;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, timeout_at},
};

use super::outcome::Outcome;
use crate::error::Chain;

/// What bodies may hold of the memory.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The largest body that is read, in bytes.
    pub one: usize,
    /// What all bodies that are being read or reviewed may add up to, in bytes; others wait for their turn.
    pub all: usize,
}

impl Default for BodyLimits {
    fn default() -> Self {
        Self {
            // etcd takes objects of 1.5 MiB; a review of an update holds two, and the encoding may grow them.
            one: 8 << 20,
            // Five thousand usual reviews, and a quarter of what the manifests grant the container.
            all: 64 << 20,
        }
    }
}

/// Where bodies come in.
#[derive(Debug)]
pub(super) struct Intake {
    limits: BodyLimits,
    /// One permit a byte.
    room: Arc<Semaphore>,
}

/// A whole body; the room it takes is free again once this is dropped.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why a request is not answered with a review.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    /// It says that its body is something else.
    #[error("the body must be application/json")]
    NotJson,
    /// The body is larger than one may be.
    #[error("the body must be at most {0} bytes")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// There was no room for the body in time.
    #[error("too many reviews at once")]
    Busy,
    /// The body broke off.
    #[error("the body could not be read")]
    Broken(#[source] axum::Error),
    /// The body is no review.
    #[error(transparent)]
    Invalid(#[from] super::review::InvalidReview),
}

impl Refusal {
    /// Returns the status of the answer, and how the review ended.
    pub(super) const fn class(&self) -> (StatusCode, Outcome) {
        match self {
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, Outcome::Invalid),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, Outcome::TooLarge),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, Outcome::TooSlow),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, Outcome::Busy),
            Self::Broken(_) | Self::Invalid(_) => (StatusCode::BAD_REQUEST, Outcome::Invalid),
        }
    }

    /// Returns the text of the answer.
    pub(super) fn text(&self) -> String {
        format!("{}\n", Chain(self))
    }
}

impl Intake {
    pub(super) fn new(limits: BodyLimits) -> Self {
        // A body that fits must find room some day.
        let room = limits.all.clamp(limits.one, Semaphore::MAX_PERMITS);
        Self {
            limits,
            room: Arc::new(Semaphore::new(room)),
        }
    }

    /// Reads a body whole.
    pub(super) async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        deadline: Instant,
    ) -> Result<Received, Refusal> {
        let limit = self.limits.one;
        if !is_json(headers) {
            return Err(Refusal::NotJson);
        }
        // Who says at once that it is too much need not send it.
        if announced(headers).is_some_and(|length| limit < length) {
            return Err(Refusal::TooLarge(limit));
        }
        let mut read = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = timeout_at(deadline, body.frame())
            .await
            .map_err(|_| Refusal::TooSlow)?
        {
            // Trailers mean nothing to us.
            let Ok(data) = frame.map_err(Refusal::Broken)?.into_data() else {
                continue;
            };
            if limit < read.len() + data.len() {
                return Err(Refusal::TooLarge(limit));
            }
            // What has arrived takes room, what was only announced does not: a slow client holds up nobody.
            let more = self.take(data.len(), deadline).await?;
            match &mut room {
                Some(room) => room.merge(more),
                None => room = Some(more),
            }
            read.extend_from_slice(&data);
        }
        Ok(Received {
            bytes: read.freeze(),
            _room: room,
        })
    }

    async fn take(&self, bytes: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::TooLarge(self.limits.one))?;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes);
        let taken = timeout_at(deadline, room)
            .await
            .map_err(|_| Refusal::Busy)?;
        Ok(taken.expect("the semaphore must not be closed"))
    }
}

fn announced(headers: &HeaderMap) -> Option<usize> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Returns whether the body says it is JSON, or says nothing.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let media_type = value.as_bytes().split(|b| *b == b';').next();
    media_type.is_some_and(|t| t.trim_ascii().eq_ignore_ascii_case(b"application/json"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { one: 100, all: 150 };

    async fn read(intake: &Intake, bytes: usize) -> Result<Received, Refusal> {
        let deadline = Instant::now() + Duration::from_secs(1);
        let body = Body::from(vec![b' '; bytes]);
        intake.read(&HeaderMap::new(), body, deadline).await
    }

    #[tokio::test(start_paused = true)]
    async fn bodies_wait_for_room_until_their_deadline() {
        let intake = Intake::new(LIMITS);
        let first = read(&intake, 100).await.unwrap();
        assert_eq!(first.bytes.len(), 100);
        let second = read(&intake, 50).await.unwrap();
        let started = Instant::now();
        let refused = read(&intake, 1).await.expect_err("there is no room");
        assert_eq!(
            refused.class(),
            (StatusCode::SERVICE_UNAVAILABLE, Outcome::Busy)
        );
        assert_eq!(started.elapsed().as_secs(), 1);
        drop(second);
        let waiting = read(&intake, 100);
        let freed = async {
            tokio::task::yield_now().await;
            drop(first);
        };
        let (waited, ()) = tokio::join!(waiting, freed);
        waited.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_only_announced_takes_no_room() {
        let intake = Intake::new(LIMITS);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 100.into());
        let never = || Body::from_stream(futures::stream::pending::<Result<Bytes, axum::Error>>());
        let deadline = Instant::now() + Duration::from_secs(10);
        let slow = [
            intake.read(&headers, never(), deadline),
            intake.read(&headers, never(), deadline),
        ];
        let (slow, quick) = tokio::join!(futures::future::join_all(slow), read(&intake, 100));
        quick.unwrap();
        for slow in slow {
            assert!(matches!(slow, Err(Refusal::TooSlow)));
        }
    }

    #[tokio::test]
    async fn the_largest_body_always_finds_room() {
        let intake = Intake::new(BodyLimits { one: 100, all: 1 });
        read(&intake, 100).await.unwrap();
        let refused = read(&intake, 101).await.expect_err("it is too large");
        assert_eq!(refused.text(), "the body must be at most 100 bytes\n");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let pieces = [Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))];
        let body = Body::from_stream(futures::stream::iter(pieces));
        let deadline = Instant::now() + Duration::from_secs(1);
        let intake = Intake::new(LIMITS);
        let refused = intake.read(&HeaderMap::new(), body, deadline).await;
        assert_eq!(
            refused.expect_err("it is broken").text(),
            "the body could not be read: gone\n"
        );
    }
}
