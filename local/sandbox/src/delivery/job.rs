//! One delivery of one event to one receiver, and what is remembered of each attempt.
//!
//! Jobs for HTTP receivers are kept with the sandbox's data, so that a killed process delivers after its restart.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Duration;

use crate::chaos::Plan;
use crate::json::Fields;

/// Prefix of the keys under which jobs are kept.
pub(crate) const PREFIX: &str = "delivery/job/";

/// The receiver given in `Options` or by `set_webhook`.
pub(crate) const DEFAULT_TARGET: &str = "default";

/// Receivers that are sessions of `stripe listen` have this before their id.
pub(crate) const CLI_PREFIX: &str = "stripecli:";

/// Stripe retries for up to three days: <https://docs.stripe.com/webhooks#retries>.
const RETRY_SECONDS: i64 = 3 * 24 * 60 * 60;

const FIRST_RETRY_SECONDS: u64 = 1;
const LAST_RETRY_SECONDS: u64 = 64;

/// Prefix of the keys of an event's jobs.
pub(super) fn prefix_of(seq: u64) -> String {
    format!("{PREFIX}{seq:012}/")
}

/// What of an answer's body is kept.
const KEPT_CHARACTERS: usize = 2_000;

/// A delivery that is still owed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) event: String,
    pub(crate) event_type: String,
    /// Sequence number of the event.
    pub(crate) seq: u64,
    /// `default`, a webhook endpoint's id, or a session of the Stripe CLI.
    pub(crate) target: String,
    /// Distinguishes copies of one event for one receiver.
    pub(crate) copy: u64,
    /// Counts from 1.
    pub(crate) attempt: u32,
    /// When the first attempt was due, on the sandbox's clock.
    pub(crate) since: i64,
    /// Replaces the receiver's own API version.
    pub(crate) api_version: Option<String>,
    pub(crate) same_second: bool,
    /// The faults that were applied, by name.
    pub(crate) chaos: Vec<String>,
}

/// What an attempt led to.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// HTTP status; `None` when there was no answer.
    pub(crate) status: Option<u16>,
    /// The answer's body, or why there is none.
    pub(crate) body: String,
}

impl Job {
    pub(crate) fn new(event: &Value, seq: u64, target: &str, since: i64) -> Self {
        Self {
            event: event.text("id").to_owned(),
            event_type: event.text("type").to_owned(),
            seq,
            target: target.to_owned(),
            copy: 0,
            attempt: 1,
            since,
            api_version: None,
            same_second: false,
            chaos: Vec::new(),
        }
    }

    /// The same job, shaped by chaos.
    pub(crate) fn planned(mut self, plan: &Plan) -> Self {
        self.api_version = plan.api_version.clone();
        self.same_second = plan.same_second;
        self.chaos = plan.applied.clone();
        self
    }

    pub(crate) fn key(&self) -> String {
        format!("{}{}/{}", prefix_of(self.seq), self.target, self.copy)
    }

    /// The session of the Stripe CLI that this is for.
    pub(crate) fn cli_session(&self) -> Option<&str> {
        self.target.strip_prefix(CLI_PREFIX)
    }

    /// How long to wait before the next attempt; `None` to give up.
    pub(crate) fn retry_after(&self, now: i64) -> Option<Duration> {
        if self.cli_session().is_some() || now.saturating_sub(self.since) > RETRY_SECONDS {
            return None;
        }
        let doubled = FIRST_RETRY_SECONDS
            .checked_shl(self.attempt.saturating_sub(1))
            .unwrap_or(LAST_RETRY_SECONDS);
        Some(Duration::from_secs(
            doubled.clamp(FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS),
        ))
    }

    /// The job as `GET /_sandbox/deliveries?pending=true` shows it.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "event": self.event,
            "type": self.event_type,
            "target": self.target,
            "attempt": self.attempt,
            "since": self.since,
            "chaos": self.chaos,
        })
    }

    /// The record of an attempt.
    pub(crate) fn attempt_json(
        &self,
        url: &str,
        answer: &Answer,
        at: i64,
        next_retry_at: Option<i64>,
    ) -> Value {
        json!({
            "event": self.event,
            "type": self.event_type,
            "target": self.target,
            "url": url,
            "attempt": self.attempt,
            "status": answer.status,
            "body": answer.body.chars().take(KEPT_CHARACTERS).collect::<String>(),
            "at": at,
            "chaos": self.chaos,
            "next_retry_at": next_retry_at,
        })
    }
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }

    /// There was no answer.
    pub(crate) fn none(why: impl Into<String>) -> Self {
        Self {
            status: None,
            body: why.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(attempt: u32) -> Job {
        let event = json!({"id": "evt_1", "type": "invoice.paid"});
        Job {
            attempt,
            ..Job::new(&event, 7, DEFAULT_TARGET, 1_000)
        }
    }

    #[test]
    fn retries_double_to_a_cap_for_three_days() {
        let seconds = |attempt| job(attempt).retry_after(1_000).unwrap().as_secs();
        assert_eq!(
            [1, 2, 3, 4, 7, 8, 63, 64, 200].map(seconds),
            [1, 2, 4, 8, 64, 64, 64, 64, 64]
        );
        assert!(job(9).retry_after(1_000 + RETRY_SECONDS).is_some());
        assert_eq!(job(9).retry_after(1_001 + RETRY_SECONDS), None);
    }

    #[test]
    fn a_session_of_the_cli_is_not_tried_again() {
        let job = Job {
            target: format!("{CLI_PREFIX}ws_1"),
            ..job(1)
        };
        assert_eq!(job.cli_session(), Some("ws_1"));
        assert_eq!(job.retry_after(1_000), None);
    }

    #[test]
    fn a_job_survives_being_kept() {
        let kept = serde_json::to_value(job(3)).unwrap();
        let read: Job = serde_json::from_value(kept.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), kept);
        assert_eq!(read.key(), "delivery/job/000000000007/default/0");
    }
}
