//! The record of each event: what became of it, and its body while it is to be dealt with again.

use std::io::{Read, Write};

use aws_sdk_dynamodb::types::{AttributeValue, Put};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::effect::Committed;
use super::keys::{Item, Key};
use super::table::STATUS_INDEX;
use super::{Error, Store, built, transaction, unavailable};
use crate::ids::EventId;

/// How long an event is remembered: Stripe retries for 3 days and resends for 30.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 45);

/// The longest body that is kept, once compressed: an item holds 400 KB.
const KEPT_BODY_LIMIT_BYTES: usize = 350 << 10;

/// The most that a kept body may unpack to.
const BODY_LIMIT_BYTES: u64 = 8 << 20;

/// What became of an event.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It changed something.
    Applied,
    /// Known already, or nothing to change.
    NoChange,
    /// Not for us.
    Ignored,
    /// To be tried again.
    Pending,
    /// A person must look.
    Parked,
}

/// Where a kept event waits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Queue {
    /// To be tried again when due.
    Pending,
    /// For a person to look at.
    Parked,
    /// For its customer to be claimed; looked at again when due, in case that went unnoticed.
    Unclaimed,
}

/// What waits in a queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// How many events.
    pub count: usize,
    /// When Stripe created the oldest of them.
    pub oldest: Option<Timestamp>,
}

impl Queue {
    /// The key of the index under which the events of this queue are found.
    pub(super) fn status_key(self) -> &'static str {
        match self {
            Self::Pending => "EVENT#pending",
            Self::Parked => "EVENT#parked",
            Self::Unclaimed => "EVENT#unclaimed",
        }
    }

    fn outcome(self) -> Outcome {
        match self {
            Self::Pending => Outcome::Pending,
            Self::Parked | Self::Unclaimed => Outcome::Parked,
        }
    }
}

/// The record of an event: `EVENT#<evt_>`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Marker {
    /// What became of it.
    pub outcome: Outcome,
    /// Stripe's type string.
    pub r#type: String,
    /// When Stripe created it, in seconds.
    pub created: i64,
    /// When this was written, in seconds.
    pub at: i64,
    /// Why it was ignored, is pending or parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How often it was tried, if it is to be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// The compressed body, while it is pending or parked.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "serde_bytes")]
    body: Option<Vec<u8>>,
    /// Which attempt of which invocation wrote this.
    pub writer: String,
    /// Places it in the index while it is pending or parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    status_key: Option<String>,
    /// When it is to be tried again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<i64>,
    /// When it is forgotten, in seconds; a pending or parked one never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

impl Marker {
    /// The record of an event that is done with.
    pub fn done(
        outcome: Outcome,
        r#type: &str,
        created: Timestamp,
        now: Timestamp,
        writer: &str,
    ) -> Self {
        Self {
            outcome,
            r#type: r#type.to_owned(),
            created: created.as_second(),
            at: now.as_second(),
            reason: None,
            attempts: None,
            body: None,
            writer: writer.to_owned(),
            status_key: None,
            due_at: None,
            expires_at: Some(now.as_second().saturating_add(REMEMBERED.as_secs())),
        }
    }

    /// The same with a reason.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.reason = Some(reason.into());
        self
    }

    /// The same, kept with its body in a queue until `due_at`. `None` when the body is too long to keep.
    pub fn kept(
        mut self,
        body: &[u8],
        queue: Queue,
        due_at: Timestamp,
        attempts: u32,
    ) -> Option<Self> {
        self.body = Some(pack(body).filter(|packed| packed.len() <= KEPT_BODY_LIMIT_BYTES)?);
        self.outcome = queue.outcome();
        self.status_key = Some(queue.status_key().to_owned());
        self.due_at = Some(due_at.as_second());
        self.attempts = Some(attempts);
        self.expires_at = None;
        Some(self)
    }

    /// The kept body, as it was received.
    pub fn kept_body(&self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        let packed = self.body.as_deref()?;
        flate2::read::DeflateDecoder::new(packed)
            .take(BODY_LIMIT_BYTES)
            .read_to_end(&mut body)
            .ok()?;
        Some(body)
    }

    /// Whether the event is done with, so that another delivery of it changes nothing.
    pub fn is_done(&self) -> bool {
        match self.outcome {
            Outcome::Applied | Outcome::NoChange | Outcome::Ignored => true,
            Outcome::Pending | Outcome::Parked => false,
        }
    }

    /// The put of the record. A pending or parked record gives way; one that is done with does not.
    pub(super) fn put(&self, table: &str, event_id: &EventId) -> Result<Put, Error> {
        let put = Put::builder()
            .table_name(table)
            .set_item(Some(Key::event(event_id).item(self)?))
            .condition_expression("attribute_not_exists(pk) OR outcome IN (:pending, :parked)")
            .expression_attribute_values(":pending", AttributeValue::S("pending".to_owned()))
            .expression_attribute_values(":parked", AttributeValue::S("parked".to_owned()));
        built(put)
    }
}

fn pack(body: &[u8]) -> Option<Vec<u8>> {
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(body).ok()?;
    packer.finish().ok()
}

/// Whether the item is the record of an event that is done with.
pub(super) fn is_done(item: Option<&Item>) -> bool {
    let marker = item.and_then(|item| serde_dynamo::from_item::<_, Marker>(item.clone()).ok());
    marker.is_some_and(|marker| marker.is_done())
}

impl Store {
    /// The record of an event.
    pub async fn marker(&self, event_id: &EventId) -> Result<Option<Marker>, Error> {
        let item = self.get(Key::event(event_id)).await?;
        Ok(item.map(serde_dynamo::from_item).transpose()?)
    }

    /// Events of a queue whose time has come, the longest overdue first. The index lags a little behind.
    pub async fn due_events(
        &self,
        queue: Queue,
        now: Timestamp,
        limit: i32,
    ) -> Result<Vec<EventId>, Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(STATUS_INDEX)
            .key_condition_expression("status_key = :queue AND due_at <= :now")
            .expression_attribute_values(":queue", AttributeValue::S(queue.status_key().to_owned()))
            .expression_attribute_values(":now", AttributeValue::N(now.as_second().to_string()))
            .limit(limit)
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(answer
            .items
            .unwrap_or_default()
            .iter()
            .filter_map(Key::event_id)
            .collect())
    }

    /// What waits in a queue, due or not. Of more than fits one answer, some ten thousand, the first.
    pub async fn waiting(&self, queue: Queue) -> Result<Waiting, Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(STATUS_INDEX)
            .key_condition_expression("status_key = :queue")
            .expression_attribute_values(":queue", AttributeValue::S(queue.status_key().to_owned()))
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        let events = answer.items.unwrap_or_default();
        let created = events.iter().filter_map(|event| {
            let seconds = event.get("created")?.as_n().ok()?.parse().ok()?;
            Timestamp::from_second(seconds).ok()
        });
        Ok(Waiting {
            oldest: created.min(),
            count: events.len(),
        })
    }

    /// Records an event that changes nothing else.
    pub async fn record(&self, event_id: &EventId, marker: &Marker) -> Result<Committed, Error> {
        let put = marker.put(&self.table, event_id)?;
        match self.put(put, &marker.writer).await? {
            transaction::Outcome::Committed => Ok(Committed::Committed),
            transaction::Outcome::Refused { found, .. } if is_done(found.as_ref()) => {
                Ok(Committed::Duplicate)
            }
            transaction::Outcome::Refused { .. } => Ok(Committed::FenceLost),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::tests::{START, at};

    #[test]
    fn a_kept_body_comes_back_as_it_was_and_has_no_expiry() {
        let body = "{\"type\": \"invoice.paid\"}".repeat(500).into_bytes();
        let marker = Marker::done(
            Outcome::Applied,
            "invoice.paid",
            at(START),
            at(START),
            "writer",
        );
        assert!(marker.is_done() && marker.expires_at == Some(START + 45 * 86_400));
        let kept = marker
            .kept(&body, Queue::Pending, at(START + 10), 1)
            .unwrap();
        assert!(!kept.is_done() && kept.expires_at.is_none());
        assert_eq!(kept.kept_body().unwrap(), body);
    }

    #[test]
    fn the_record_of_an_applied_event_is_exactly_this() {
        let marker = Marker::done(
            Outcome::Applied,
            "invoice.paid",
            at(START),
            at(START + 1),
            "inv.0",
        );
        let item = Key::event(&"evt_1".into()).item(&marker).unwrap();
        let expected = std::collections::HashMap::from([
            ("pk".to_owned(), AttributeValue::S("EVENT#evt_1".to_owned())),
            ("sk".to_owned(), AttributeValue::S("EVENT".to_owned())),
            (
                "outcome".to_owned(),
                AttributeValue::S("applied".to_owned()),
            ),
            (
                "type".to_owned(),
                AttributeValue::S("invoice.paid".to_owned()),
            ),
            ("created".to_owned(), AttributeValue::N(START.to_string())),
            ("at".to_owned(), AttributeValue::N((START + 1).to_string())),
            ("writer".to_owned(), AttributeValue::S("inv.0".to_owned())),
            (
                "expires_at".to_owned(),
                AttributeValue::N((START + 1 + 45 * 86_400).to_string()),
            ),
        ]);
        assert_eq!(item, expected);
    }
}
