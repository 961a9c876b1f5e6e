//! One conditional write to its end: what collides or is throttled is tried again under the same token,
//! and what is unknown is looked for.
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html>

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, Put, TransactWriteItem};

use super::{Error, Item, Store, backoff, digest, unavailable, written_by};

/// How often a transaction is attempted that collides with another or is throttled.
const ATTEMPTS: u32 = 8;

/// What became of a conditional write.
#[derive(Debug)]
pub(super) enum Outcome {
    /// All of it is written, by us.
    Committed,
    /// Nothing is written: the condition of the put at `index` did not hold for the item that is there.
    Refused {
        /// Which part of the transaction; 0 is the first put.
        index: usize,
        /// What is there.
        found: Option<Item>,
    },
}

impl Store {
    /// Writes one item that carries the attribute `writer`, or learns what is there instead.
    pub(super) async fn put(&self, put: Put, writer: &str) -> Result<Outcome, Error> {
        let key = key_of(&put.item);
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(put.item))
            .set_condition_expression(put.condition_expression)
            .set_expression_attribute_values(put.expression_attribute_values)
            .set_return_values_on_condition_check_failure(
                put.return_values_on_condition_check_failure,
            )
            .send()
            .await;
        let Err(error) = sent else {
            return Ok(Outcome::Committed);
        };
        match error.as_service_error() {
            Some(PutItemError::ConditionalCheckFailedException(failure)) => match failure.item() {
                Some(item) if written_by(item, writer) => Ok(Outcome::Committed),
                found => Ok(Outcome::Refused {
                    index: 0,
                    found: found.cloned(),
                }),
            },
            _ => match self.get_at(key).await {
                Ok(Some(item)) if written_by(&item, writer) => Ok(Outcome::Committed),
                Ok(_) | Err(_) => Err(unavailable(&error)),
            },
        }
    }

    /// Does all of it or nothing. The first put carries the attribute `writer`, by which an attempt whose
    /// reply was lost knows itself again.
    pub(super) async fn transact(
        &self,
        first: Put,
        rest: Vec<TransactWriteItem>,
        writer: &str,
    ) -> Result<Outcome, Error> {
        let first_key = key_of(&first.item);
        let items: Vec<TransactWriteItem> = std::iter::once(also(first)).chain(rest).collect();
        let token = token(writer);
        let mut last = Error::Unavailable("not attempted".to_owned());
        for attempt in 0..ATTEMPTS {
            let sent = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(&token)
                .send()
                .await;
            let Err(error) = sent else {
                return Ok(Outcome::Committed);
            };
            last = unavailable(&error);
            match error.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                    if let Some(refused) = refusal(canceled.cancellation_reasons(), writer) {
                        return Ok(refused);
                    }
                }
                Some(TransactWriteItemsError::TransactionInProgressException(_)) => {}
                // Lost, failed or never arrived: what is there tells. The same token makes another
                // attempt harmless if the first one is still to come.
                _ => match self.get_at(first_key.clone()).await {
                    Ok(Some(item)) if written_by(&item, writer) => return Ok(Outcome::Committed),
                    Ok(_) | Err(_) => {}
                },
            }
            tokio::time::sleep(backoff(writer, attempt)).await;
        }
        Err(last)
    }
}

/// A put as a further part of a transaction.
pub(super) fn also(put: Put) -> TransactWriteItem {
    TransactWriteItem::builder().put(put).build()
}

/// The condition that failed, unless what failed it is what we wrote ourselves. `None` when the
/// transaction only met another one, or a limit.
fn refusal(reasons: &[CancellationReason], writer: &str) -> Option<Outcome> {
    let failed = |reason: &CancellationReason| reason.code() == Some("ConditionalCheckFailed");
    let (index, reason) = reasons
        .iter()
        .enumerate()
        .find(|(_, reason)| failed(reason))?;
    let own = reasons
        .iter()
        .filter(|reason| failed(reason))
        .any(|reason| reason.item().is_some_and(|item| written_by(item, writer)));
    if own {
        return Some(Outcome::Committed);
    }
    Some(Outcome::Refused {
        index,
        found: reason.item().cloned(),
    })
}

fn key_of(item: &Item) -> Item {
    item.iter()
        .filter(|(name, _)| matches!(name.as_str(), "pk" | "sk"))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// At most 36 characters, the same for every attempt of one writer.
fn token(writer: &str) -> String {
    let hash = hex::encode(digest::digest(&digest::SHA256, writer.as_bytes()));
    hash.get(..36).unwrap_or_default().to_owned()
}
