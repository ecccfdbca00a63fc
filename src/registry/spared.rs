//! What is not asked again before a certain time, because of a fault that is told meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use super::Fault;

/// Until when something is spared, if it is.
#[derive(Debug, Default)]
pub(super) struct Spared(Option<(Instant, Fault)>);

impl Spared {
    /// Spares it for `duration` because of `fault`. A shorter wish does not shorten a longer one.
    pub(super) fn note(&mut self, fault: &Fault, duration: Duration) {
        let until = Instant::now() + duration;
        if self.until().is_none_or(|known| known < until) {
            self.0 = Some((until, fault.clone()));
        }
    }

    /// Fails while it is spared, with the fault that it is spared for and the time that is left.
    pub(super) fn check(&mut self) -> Result<(), Fault> {
        let Some((until, fault)) = &self.0 else {
            return Ok(());
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            self.0 = None;
            return Ok(());
        }
        Err(fault.clone().with_time_left(left))
    }

    /// Returns until when.
    pub(super) fn until(&self) -> Option<Instant> {
        self.0.as_ref().map(|(until, _)| *until)
    }
}

impl Fault {
    fn with_time_left(self, left: Duration) -> Self {
        match self {
            Self::RateLimited { .. } => Self::RateLimited { retry_after: left },
            Self::Unavailable { status, .. } => Self::Unavailable {
                status,
                retry_after: Some(left),
            },
            Self::TokenService { host, source } => Self::TokenService {
                host,
                source: Box::new(source.with_time_left(left)),
            },
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn limited(retry_after: Duration) -> Fault {
        Fault::RateLimited { retry_after }
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_wish_counts_and_the_time_left_is_told() {
        let mut spared = Spared::default();
        assert!(spared.check().is_ok());
        spared.note(&limited(10 * SECOND), 10 * SECOND);
        spared.note(&limited(SECOND), SECOND);
        advance(4 * SECOND).await;
        let service = Fault::TokenService {
            host: "auth.test".into(),
            source: Box::new(limited(7 * SECOND)),
        };
        assert_eq!(spared.check().unwrap_err().retry_after(), Some(6 * SECOND));
        spared.note(&service, 7 * SECOND);
        advance(SECOND).await;
        let fault = spared.check().unwrap_err();
        assert_eq!(fault.retry_after(), Some(6 * SECOND));
        assert!(matches!(fault, Fault::TokenService { .. }));
        advance(6 * SECOND).await;
        assert!(spared.check().is_ok());
        assert_eq!(spared.until(), None);
    }
}
