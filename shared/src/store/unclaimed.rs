//! Events about customers whom nobody has claimed yet: parked so that the claim finds them, whichever
//! of the two comes first.

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Put, TransactWriteItem};
use jiff::Timestamp;

use super::effect::Committed;
use super::keys::{Key, UNCLAIMED_PREFIX};
use super::marker::{Marker, Queue, is_done};
use super::transaction::also;
use super::{Error, Store, built, transaction, unavailable, updated_or_refused};
use crate::ids::{CustomerId, EventId};

/// The most events that one claim sets free at once; the scheduled run finds the others.
const RELEASED_MAX: i32 = 100;

impl Store {
    /// Parks an event with a pointer to it beside its customer, unless the customer is claimed by now:
    /// then the fence is lost, and the event can be dealt with.
    pub async fn park_unclaimed(
        &self,
        event_id: &EventId,
        customer_id: &CustomerId,
        marker: &Marker,
    ) -> Result<Committed, Error> {
        let pointer = Put::builder()
            .table_name(&self.table)
            .set_item(Some(Key::unclaimed(customer_id, event_id).attributes()));
        let first = marker.put(&self.table, event_id)?;
        let still_unclaimed = ConditionCheck::builder()
            .table_name(&self.table)
            .set_key(Some(Key::customer(customer_id).attributes()))
            .condition_expression("attribute_not_exists(pk)")
            .build()
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        let still_unclaimed = TransactWriteItem::builder()
            .condition_check(still_unclaimed)
            .build();
        let rest = vec![also(built(pointer)?), still_unclaimed];
        match self.transact(first, rest, &marker.writer).await? {
            transaction::Outcome::Committed => Ok(Committed::Committed),
            transaction::Outcome::Refused { index: 0, found } if is_done(found.as_ref()) => {
                Ok(Committed::Duplicate)
            }
            transaction::Outcome::Refused { .. } => Ok(Committed::FenceLost),
        }
    }

    /// Makes the events that waited for this customer due at once. To be called after the claim.
    pub async fn release_unclaimed(
        &self,
        customer_id: &CustomerId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let answer = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("pk = :pk AND begins_with(sk, :prefix)")
            .expression_attribute_values(
                ":pk",
                AttributeValue::S(Key::customer(customer_id).partition().to_owned()),
            )
            .expression_attribute_values(":prefix", AttributeValue::S(UNCLAIMED_PREFIX.to_owned()))
            .consistent_read(true)
            .limit(RELEASED_MAX)
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        for pointer in answer.items.unwrap_or_default() {
            let Some(event_id) = pointer
                .get("sk")
                .and_then(|sk| sk.as_s().ok()?.strip_prefix(UNCLAIMED_PREFIX))
            else {
                continue;
            };
            self.release(&EventId::from(event_id), customer_id, now)
                .await?;
        }
        Ok(())
    }

    async fn release(
        &self,
        event_id: &EventId,
        customer_id: &CustomerId,
        now: Timestamp,
    ) -> Result<(), Error> {
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(Key::event(event_id).attributes()))
            .update_expression(
                "SET outcome = :pending, status_key = :queue, due_at = :now, attempts = :none",
            )
            .condition_expression("status_key = :unclaimed")
            .expression_attribute_values(":pending", AttributeValue::S("pending".to_owned()))
            .expression_attribute_values(
                ":queue",
                AttributeValue::S(Queue::Pending.status_key().to_owned()),
            )
            .expression_attribute_values(
                ":unclaimed",
                AttributeValue::S(Queue::Unclaimed.status_key().to_owned()),
            )
            .expression_attribute_values(":now", AttributeValue::N(now.as_second().to_string()))
            .expression_attribute_values(":none", AttributeValue::N("0".to_owned()))
            .send()
            .await;
        updated_or_refused(updated)?;
        self.client
            .delete_item()
            .table_name(&self.table)
            .set_key(Some(Key::unclaimed(customer_id, event_id).attributes()))
            .send()
            .await
            .map(|_| ())
            .map_err(|error| unavailable(&error))
    }
}
