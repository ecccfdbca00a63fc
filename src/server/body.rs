//! Reads the bodies of requests: each bounded, all together bounded, none waited for too long.

use std::{sync::Arc, time::Duration};

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
    /// Bodies of more bytes than this, and those of which nobody says how many they have, share half of that room.
    pub small: usize,
    /// From the head to the end of the body, the wait for room included.
    pub arrival: Duration,
}

/// Where bodies come in.
#[derive(Debug)]
pub struct Intake {
    limits: BodyLimits,
    /// One permit a byte.
    room: Arc<Semaphore>,
    /// As many fewer as are kept for small bodies; a large one takes its bytes from both.
    large: Arc<Semaphore>,
}

/// The room that a body takes.
#[derive(Debug, Default)]
struct Room {
    all: Option<OwnedSemaphorePermit>,
    large: Option<OwnedSemaphorePermit>,
}

/// A whole body; the room it takes is free again once this is dropped.
#[derive(Debug)]
pub struct Received {
    /// The body.
    pub bytes: Bytes,
    _room: Room,
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
        let large = (room / 2).max(limits.one);
        Self {
            limits,
            room: Arc::new(Semaphore::new(room)),
            large: Arc::new(Semaphore::new(large)),
        }
    }

    /// Reads a body whole, until `deadline` at the latest: its sender may have chosen that.
    pub async fn read(
        &self,
        headers: &HeaderMap,
        mut body: Body,
        deadline: Instant,
    ) -> Result<Received, Unread> {
        let limit = self.limits.one;
        let announced = announced(headers);
        // Who says at once that it is too much need not send it.
        if announced.is_some_and(|length| limit < length) {
            return Err(Unread::TooLarge(limit));
        }
        // HTTP lets nobody send more than was announced.
        let is_small = announced.is_some_and(|length| length <= self.limits.small);
        let deadline = deadline.min(Instant::now() + self.limits.arrival);
        let mut read = BytesMut::new();
        let mut room = Room::default();
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
            if !is_small {
                take(&self.large, &mut room.large, data.len(), deadline).await?;
            }
            take(&self.room, &mut room.all, data.len(), deadline).await?;
            read.extend_from_slice(&data);
        }
        Ok(Received {
            bytes: read.freeze(),
            _room: room,
        })
    }
}

/// Takes `bytes` more `of` the room there is.
async fn take(
    of: &Arc<Semaphore>,
    taken: &mut Option<OwnedSemaphorePermit>,
    bytes: usize,
    deadline: Instant,
) -> Result<(), Unread> {
    let bytes = u32::try_from(bytes).map_err(|_| Unread::Busy)?;
    let more = timeout_at(deadline, Arc::clone(of).acquire_many_owned(bytes));
    let more = more.await.map_err(|_| Unread::Busy)?;
    let more = more.expect("the semaphore must not be closed");
    match taken {
        Some(taken) => taken.merge(more),
        None => *taken = Some(more),
    }
    Ok(())
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
mod tests;
