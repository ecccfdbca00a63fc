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

/// What bodies may hold of the memory.
#[derive(Debug, Clone, Copy)]
pub struct BodyLimits {
    /// The largest body that is read, in bytes.
    pub one: usize,
    /// What all bodies that are being read or worked on may add up to, in bytes; others wait for their turn.
    pub all: usize,
}

/// Where bodies come in.
#[derive(Debug)]
pub struct Intake {
    limits: BodyLimits,
    /// One permit a byte.
    room: Arc<Semaphore>,
}

/// A whole body; the room it takes is free again once this is dropped.
#[derive(Debug)]
pub struct Received {
    /// The body.
    pub bytes: Bytes,
    _room: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read whole.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    /// The body is larger than one may be.
    #[error("the body must be at most {0} bytes")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// There was no room for the body in time.
    #[error("too many requests at once")]
    Busy,
    /// The body broke off.
    #[error("the body could not be read")]
    Broken(#[source] axum::Error),
}

impl Unread {
    /// Returns the status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl Intake {
    /// Returns room for bodies within `limits`.
    pub fn new(limits: BodyLimits) -> Self {
        // A body that fits must find room some day.
        let room = limits.all.clamp(limits.one, Semaphore::MAX_PERMITS);
        Self {
            limits,
            room: Arc::new(Semaphore::new(room)),
        }
    }

    /// Reads a body whole.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        deadline: Instant,
    ) -> Result<Received, Unread> {
        let limit = self.limits.one;
        // Who says at once that it is too much need not send it.
        if announced(headers).is_some_and(|length| limit < length) {
            return Err(Unread::TooLarge(limit));
        }
        let mut read = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = timeout_at(deadline, body.frame())
            .await
            .map_err(|_| Unread::TooSlow)?
        {
            // Trailers mean nothing to us.
            let Ok(data) = frame.map_err(Unread::Broken)?.into_data() else {
                continue;
            };
            if limit < read.len() + data.len() {
                return Err(Unread::TooLarge(limit));
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

    async fn take(&self, bytes: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, Unread> {
        let bytes = u32::try_from(bytes).map_err(|_| Unread::TooLarge(self.limits.one))?;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes);
        let taken = timeout_at(deadline, room).await.map_err(|_| Unread::Busy)?;
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits { one: 100, all: 150 };

    async fn read(intake: &Intake, bytes: usize) -> Result<Received, Unread> {
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
        assert!(matches!(refused, Unread::Busy));
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
            assert!(matches!(slow, Err(Unread::TooSlow)));
        }
    }

    #[tokio::test]
    async fn the_largest_body_always_finds_room() {
        let intake = Intake::new(BodyLimits { one: 100, all: 1 });
        read(&intake, 100).await.unwrap();
        let refused = read(&intake, 101).await.expect_err("it is too large");
        assert_eq!(refused.to_string(), "the body must be at most 100 bytes");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_refused() {
        let pieces = [Ok(Bytes::from("{")), Err(std::io::Error::other("gone"))];
        let body = Body::from_stream(futures::stream::iter(pieces));
        let deadline = Instant::now() + Duration::from_secs(1);
        let intake = Intake::new(LIMITS);
        let refused = intake.read(&HeaderMap::new(), body, deadline).await;
        let Unread::Broken(why) = refused.expect_err("it is broken") else {
            panic!("it must be told as broken")
        };
        assert_eq!(why.to_string(), "gone");
    }
}
