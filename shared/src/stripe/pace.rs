//! How fast we may ask: when Stripe limits our rate, everyone here slows down together instead of each
//! finding out alone. <https://docs.stripe.com/rate-limits>

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// The most calls that are under way at once; each of them can be refused before the others know.
const CALLS_MAX: usize = 8;

#[derive(Debug)]
pub(super) struct Pace {
    calls: Semaphore,
    resume_at: Mutex<Option<Instant>>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            calls: Semaphore::new(CALLS_MAX),
            resume_at: Mutex::default(),
        }
    }
}

impl Pace {
    /// Waits for one's turn; the call is under way until the permit is dropped.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        // The semaphore is never closed, so there always is a permit.
        let permit = self.calls.acquire().await.ok();
        while let Some(resume_at) = self.resume_at().filter(|at| *at > Instant::now()) {
            tokio::time::sleep_until(resume_at).await;
        }
        permit
    }

    /// Stripe has refused a call for its rate: nobody asks before `wait` is over.
    pub(super) fn slow_down(&self, wait: Duration) {
        let until = Instant::now() + wait;
        let mut resume_at = self
            .resume_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *resume_at = (*resume_at).max(Some(until));
    }

    fn resume_at(&self) -> Option<Instant> {
        *self
            .resume_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_refusal_makes_everyone_wait() {
        let pace = Pace::default();
        let began = Instant::now();
        drop(pace.turn().await);
        assert_eq!(began.elapsed(), Duration::ZERO);
        pace.slow_down(Duration::from_secs(1));
        pace.slow_down(Duration::from_millis(10));
        tokio::join!(pace.turn(), pace.turn());
        assert_eq!(began.elapsed(), Duration::from_secs(1));
    }
}
