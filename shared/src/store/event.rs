//! The record of each event, and the one transaction in which an event takes effect.

use std::io::{Read, Write};

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes, Put};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::keys::{Item, Key};
use super::table::STATUS_INDEX;
use super::{Error, Mapping, Store, account_put, backoff, built, transaction, unavailable};
use crate::account::Account;
use crate::decide::{Changes, Known, grant_source};
use crate::event::{Event, Invoice};
use crate::ids::{CustomerId, EventId, UserId};

/// How long an event is remembered: Stripe retries for 3 days and resends for 30.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24 * 45);

/// How often a batch is read whose keys DynamoDB did not all get to.
const BATCH_ATTEMPTS: u32 = 5;

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
    pub body: Option<Vec<u8>>,
    /// Which attempt of which invocation wrote this.
    pub writer: String,
    /// Places it in the index while it is pending or parked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_key: Option<String>,
    /// When it is to be tried again, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<i64>,
    /// When it is forgotten, in seconds; a pending or parked one never is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// What is known when an event arrives.
#[derive(Debug)]
pub struct Loaded {
    /// The event's own record, if it was seen before.
    pub marker: Option<Marker>,
    /// What the event may change, if its customer is known.
    pub known: Option<Known>,
    /// The version of the invoice's record.
    pub invoice_version: u64,
}

/// What became of writing an event's effect.
#[derive(Clone, Debug, PartialEq)]
pub enum Committed {
    /// Written, by us.
    Committed,
    /// Somebody else has recorded this event.
    Duplicate,
    /// Somebody wrote the account, or one of the records, since they were read.
    FenceLost,
}

#[derive(Deserialize, Serialize)]
struct InvoiceRecord {
    #[serde(flatten)]
    invoice: Invoice,
    version: u64,
}

#[derive(Serialize)]
struct LedgerEntry<'a> {
    tokens: i64,
    key: &'a str,
    at: i64,
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

    /// The record of an event whose body is kept, to be tried again at `due_at` or looked at by a person.
    /// `None` when the body is too long to keep.
    pub fn kept(mut self, body: &[u8], due_at: Timestamp, attempts: u32) -> Option<Self> {
        let packed = pack(body).filter(|packed| packed.len() <= KEPT_BODY_LIMIT_BYTES)?;
        let status = match self.outcome {
            Outcome::Pending => "pending",
            Outcome::Parked => "parked",
            Outcome::Applied | Outcome::NoChange | Outcome::Ignored => return None,
        };
        self.body = Some(packed);
        self.status_key = Some(status_key(status));
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
}

fn status_key(status: &str) -> String {
    format!("EVENT#{status}")
}

fn pack(body: &[u8]) -> Option<Vec<u8>> {
    let mut packer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    packer.write_all(body).ok()?;
    packer.finish().ok()
}

impl Store {
    /// Reads what an event may change in one batch, or in two when the object does not name its user.
    pub async fn load(
        &self,
        event_id: &EventId,
        customer_id: &CustomerId,
        user_hint: Option<&UserId>,
        event: &Event,
    ) -> Result<Loaded, Error> {
        let fixed = [Key::event(event_id), Key::customer(customer_id)];
        let mut keys = fixed.to_vec();
        keys.extend(
            user_hint
                .into_iter()
                .flat_map(|user_id| keys_of(user_id, event)),
        );
        let mut items = self.batch_get(&keys).await?;
        let user_id = match take::<Mapping>(&mut items, &Key::customer(customer_id))? {
            Some(mapping) => mapping.user_id,
            None => {
                let marker = take(&mut items, &Key::event(event_id))?;
                return Ok(Loaded {
                    marker,
                    known: None,
                    invoice_version: 0,
                });
            }
        };
        // The hint is metadata that others may edit; the table says whose customer it is.
        if user_hint != Some(&user_id) {
            items.extend(self.batch_get(&keys_of(&user_id, event)).await?);
        }
        let account: Account = take(&mut items, &Key::account(&user_id))?
            .unwrap_or_else(|| Account::new(user_id.clone()));
        let record: Option<InvoiceRecord> = match event {
            Event::Invoice(invoice) => take(&mut items, &Key::invoice(&user_id, &invoice.id))?,
            Event::CheckoutSession(_) | Event::Subscription => None,
        };
        let granted = match event {
            Event::CheckoutSession(session) => {
                let key = Key::ledger(&user_id, &grant_source(session));
                items.iter().any(|item| key.is_of(item))
            }
            Event::Invoice(_) | Event::Subscription => false,
        };
        let invoice_version = record.as_ref().map_or(0, |record| record.version);
        let known = Known {
            account,
            invoice: record.map(|record| record.invoice),
            granted,
        };
        Ok(Loaded {
            marker: take(&mut items, &Key::event(event_id))?,
            known: Some(known),
            invoice_version,
        })
    }

    /// The record of an event.
    pub async fn marker(&self, event_id: &EventId) -> Result<Option<Marker>, Error> {
        let item = self.get(Key::event(event_id)).await?;
        Ok(item.map(serde_dynamo::from_item).transpose()?)
    }

    /// Pending events whose time has come, the longest overdue first. The index lags a little behind.
    pub async fn due_events(&self, now: Timestamp, limit: i32) -> Result<Vec<EventId>, Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .index_name(STATUS_INDEX)
            .key_condition_expression("status_key = :pending AND due_at <= :now")
            .expression_attribute_values(":pending", AttributeValue::S(status_key("pending")))
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

    /// Records an event that changes nothing else. A pending or parked record gives way; one that is done
    /// with does not.
    pub async fn record(&self, event_id: &EventId, marker: &Marker) -> Result<Committed, Error> {
        let put = marker_put(&self.table, event_id, marker)?;
        match self.put(put, &marker.writer).await? {
            transaction::Outcome::Committed => Ok(Committed::Committed),
            transaction::Outcome::Refused { found, .. } if is_done(found.as_ref()) => {
                Ok(Committed::Duplicate)
            }
            transaction::Outcome::Refused { .. } => Ok(Committed::FenceLost),
        }
    }

    /// Writes an event's effect: its record, the account, the invoice and the grant, all or nothing.
    pub async fn commit(
        &self,
        event_id: &EventId,
        marker: &Marker,
        changes: &Changes,
        loaded: &Loaded,
    ) -> Result<Committed, Error> {
        let mut account = changes.account.clone();
        account.version += 1;
        let user_id = &account.user_id;
        let mut puts = vec![
            marker_put(&self.table, event_id, marker)?,
            account_put(&self.table, &account, &marker.writer)?,
        ];
        if let Some(invoice) = &changes.invoice {
            let record = InvoiceRecord {
                invoice: invoice.clone(),
                version: account.version,
            };
            let item = Key::invoice(user_id, &invoice.id).item(&record)?;
            puts.push(versioned_put(&self.table, item, loaded.invoice_version)?);
        }
        if let Some(grant) = &changes.grant {
            let entry = LedgerEntry {
                tokens: grant.tokens,
                key: &grant.key,
                at: marker.at,
            };
            let item = Key::ledger(user_id, &grant.source).item(&entry)?;
            puts.push(versioned_put(&self.table, item, 0)?);
        }
        match self.transact(puts, &marker.writer).await? {
            transaction::Outcome::Committed => Ok(Committed::Committed),
            transaction::Outcome::Refused { index: 0, found } if is_done(found.as_ref()) => {
                Ok(Committed::Duplicate)
            }
            transaction::Outcome::Refused { .. } => Ok(Committed::FenceLost),
        }
    }

    async fn batch_get(&self, keys: &[Key]) -> Result<Vec<Item>, Error> {
        let mut wanted: Vec<Item> = keys.iter().map(Key::attributes).collect();
        let mut items = Vec::new();
        for attempt in 0..BATCH_ATTEMPTS {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .consistent_read(true)
                .build()
                .map_err(|error| Error::Unavailable(error.to_string()))?;
            let answer = self
                .client
                .batch_get_item()
                .request_items(&self.table, request)
                .send()
                .await
                .map_err(|error| unavailable(&error))?;
            items.extend(
                answer
                    .responses
                    .into_iter()
                    .flatten()
                    .flat_map(|(_, found)| found),
            );
            wanted = answer
                .unprocessed_keys
                .into_iter()
                .flatten()
                .flat_map(|(_, rest)| rest.keys)
                .collect();
            if wanted.is_empty() {
                return Ok(items);
            }
            tokio::time::sleep(backoff("batch", attempt)).await;
        }
        Err(Error::Unavailable("batch not processed".to_owned()))
    }
}

fn is_done(item: Option<&Item>) -> bool {
    let marker = item.and_then(|item| serde_dynamo::from_item::<_, Marker>(item.clone()).ok());
    marker.is_some_and(|marker| marker.is_done())
}

fn keys_of(user_id: &UserId, event: &Event) -> Vec<Key> {
    let record = match event {
        Event::Invoice(invoice) => Some(Key::invoice(user_id, &invoice.id)),
        Event::CheckoutSession(session) => Some(Key::ledger(user_id, &grant_source(session))),
        Event::Subscription => None,
    };
    std::iter::once(Key::account(user_id))
        .chain(record)
        .collect()
}

fn take<T: for<'de> Deserialize<'de>>(
    items: &mut Vec<Item>,
    key: &Key,
) -> Result<Option<T>, Error> {
    let Some(index) = items.iter().position(|item| key.is_of(item)) else {
        return Ok(None);
    };
    Ok(Some(serde_dynamo::from_item(items.swap_remove(index))?))
}

fn marker_put(table: &str, event_id: &EventId, marker: &Marker) -> Result<Put, Error> {
    let put = Put::builder()
        .table_name(table)
        .set_item(Some(Key::event(event_id).item(marker)?))
        .condition_expression("attribute_not_exists(pk) OR outcome IN (:pending, :parked)")
        .expression_attribute_values(":pending", AttributeValue::S("pending".to_owned()))
        .expression_attribute_values(":parked", AttributeValue::S("parked".to_owned()));
    built(put)
}

/// A record that was read with that version; 0 means that there was none.
fn versioned_put(table: &str, item: Item, read_version: u64) -> Result<Put, Error> {
    let put = Put::builder().table_name(table).set_item(Some(item));
    built(if read_version == 0 {
        put.condition_expression("attribute_not_exists(pk)")
    } else {
        put.condition_expression("version = :read_version")
            .expression_attribute_values(
                ":read_version",
                AttributeValue::N(read_version.to_string()),
            )
    })
}
