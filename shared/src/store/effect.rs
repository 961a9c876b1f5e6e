//! What an event may change, read in one batch, and the one transaction in which it takes effect.

use aws_sdk_dynamodb::types::KeysAndAttributes;
use serde::{Deserialize, Serialize};

use super::keys::{Item, Key};
use super::marker::{Marker, is_done};
use super::transaction::also;
use super::{Error, Mapping, Store, account_put, backoff, transaction, unavailable, versioned_put};
use crate::account::Account;
use crate::decide::{Changes, Known, Record};
use crate::event::PaymentMethod;
use crate::ids::{CustomerId, EventId, PaymentMethodId, UserId};
use crate::sale::{LedgerEntry, Sale, SaleId};

/// How often a batch is read whose keys DynamoDB did not all get to.
const BATCH_ATTEMPTS: u32 = 5;

/// The record beside the account that an event may change.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RecordKey {
    /// None.
    None,
    /// An invoice or a payment.
    Sale(SaleId),
    /// A payment method.
    PaymentMethod(PaymentMethodId),
}

/// What is known when an event arrives.
#[derive(Debug)]
pub struct Loaded {
    /// The event's own record, if it was seen before.
    pub marker: Option<Marker>,
    /// What the event may change, if its customer is known.
    pub known: Option<Known>,
    /// The version that the record was read with; 0 if there was none.
    record_version: u64,
}

/// Whether a read sees every write before it, or at half the price those of a moment ago.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Consistency {
    Strong,
    Eventual,
}

/// What became of writing an event's effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Committed {
    /// Written, by us.
    Committed,
    /// Somebody else has recorded this event.
    Duplicate,
    /// Somebody wrote the account, or the record, since they were read.
    FenceLost,
}

/// A record with the version by which its writes are conditional.
#[derive(Deserialize, Serialize)]
struct Versioned<T> {
    #[serde(flatten)]
    record: T,
    version: u64,
}

/// An entry of the ledger as it is kept.
#[derive(Serialize)]
pub(super) struct DatedEntry<'e> {
    #[serde(flatten)]
    pub(super) entry: &'e LedgerEntry,
    /// When it was made, in seconds.
    pub(super) at: i64,
    /// Who wrote it, where no other part of its transaction says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) writer: Option<&'e str>,
}

impl Store {
    /// Reads what an event may change in one batch, or in two when its object does not name its user.
    pub async fn load(
        &self,
        event_id: &EventId,
        customer_id: &CustomerId,
        user_hint: Option<&UserId>,
        record: &RecordKey,
    ) -> Result<Loaded, Error> {
        let remembered = self.users.of(customer_id);
        let user_hint = user_hint.or(remembered.as_ref());
        let mut keys = vec![Key::event(event_id), Key::customer(customer_id)];
        keys.extend(
            user_hint
                .into_iter()
                .flat_map(|user_id| keys_of(user_id, record)),
        );
        let mut items = self.batch_get(&keys, Consistency::Strong).await?;
        let marker = take(&mut items, &Key::event(event_id))?;
        let Some(Mapping { user_id }) = take(&mut items, &Key::customer(customer_id))? else {
            return Ok(Loaded {
                marker,
                known: None,
                record_version: 0,
            });
        };
        self.users.remember(customer_id, &user_id);
        // The hint is metadata that others may edit; the table says whose customer it is.
        if user_hint != Some(&user_id) {
            items.extend(
                self.batch_get(&keys_of(&user_id, record), Consistency::Strong)
                    .await?,
            );
        }
        let account: Option<Account> = take(&mut items, &Key::account(&user_id))?;
        let (record, record_version) = match record {
            RecordKey::None => (Record::None, 0),
            RecordKey::Sale(id) => {
                let found: Option<Versioned<Sale>> = take(&mut items, &sale_key(&user_id, id))?;
                let (sale, version) = found
                    .map(|found| (found.record, found.version))
                    .unwrap_or_default();
                (Record::Sale(id.clone(), Box::new(sale)), version)
            }
            RecordKey::PaymentMethod(id) => {
                let key = Key::payment_method(&user_id, id);
                let found: Option<Versioned<PaymentMethod>> = take(&mut items, &key)?;
                let version = found.as_ref().map_or(0, |found| found.version);
                (
                    Record::PaymentMethod(found.map(|found| found.record)),
                    version,
                )
            }
        };
        let known = Known {
            account: account.unwrap_or_else(|| Account::new(user_id)),
            record,
        };
        Ok(Loaded {
            marker,
            known: Some(known),
            record_version,
        })
    }

    /// Writes an event's effect: its own record, the account, the record that it is about and the ledger,
    /// all or nothing.
    pub async fn commit(
        &self,
        event_id: &EventId,
        marker: &Marker,
        changes: &Changes,
        loaded: &Loaded,
        user_id: &UserId,
    ) -> Result<Committed, Error> {
        let first = marker.put(&self.table, event_id)?;
        let mut rest = Vec::new();
        if let Some(account) = &changes.account {
            let account = Account {
                version: account.version + 1,
                ..account.clone()
            };
            rest.push(also(account_put(&self.table, &account, &marker.writer)?));
        }
        let version = loaded.record_version + 1;
        let record = match &changes.record {
            None | Some(Record::None | Record::PaymentMethod(None)) => None,
            Some(Record::Sale(id, sale)) => Some(sale_key(user_id, id).item(&Versioned {
                record: sale,
                version,
            })?),
            Some(Record::PaymentMethod(Some(method))) => {
                Some(Key::payment_method(user_id, &method.id).item(&Versioned {
                    record: method,
                    version,
                })?)
            }
        };
        if let Some(item) = record {
            rest.push(also(versioned_put(
                &self.table,
                item,
                loaded.record_version,
            )?));
        }
        for entry in &changes.ledger {
            let item = Key::ledger(user_id, &entry.source).item(&DatedEntry {
                entry,
                at: marker.at,
                writer: None,
            })?;
            rest.push(also(versioned_put(&self.table, item, 0)?));
        }
        match self.transact(first, rest, &marker.writer).await? {
            transaction::Outcome::Committed => Ok(Committed::Committed),
            transaction::Outcome::Refused { index: 0, found } if is_done(found.as_ref()) => {
                Ok(Committed::Duplicate)
            }
            transaction::Outcome::Refused { .. } => Ok(Committed::FenceLost),
        }
    }

    pub(super) async fn batch_get(
        &self,
        keys: &[Key],
        consistency: Consistency,
    ) -> Result<Vec<Item>, Error> {
        let mut wanted: Vec<Item> = keys.iter().map(Key::attributes).collect();
        let mut items = Vec::new();
        for attempt in 0..BATCH_ATTEMPTS {
            let request = KeysAndAttributes::builder()
                .set_keys(Some(wanted))
                .consistent_read(consistency == Consistency::Strong)
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

fn sale_key(user_id: &UserId, id: &SaleId) -> Key {
    match id {
        SaleId::Invoice(id) => Key::invoice(user_id, id),
        SaleId::Payment(id) => Key::payment(user_id, id),
    }
}

fn keys_of(user_id: &UserId, record: &RecordKey) -> Vec<Key> {
    let record = match record {
        RecordKey::None => None,
        RecordKey::Sale(id) => Some(sale_key(user_id, id)),
        RecordKey::PaymentMethod(id) => Some(Key::payment_method(user_id, id)),
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
