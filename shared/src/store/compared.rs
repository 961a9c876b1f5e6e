//! Until when Stripe's own list of events was compared with the table, and which of its events are known.

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;

use super::effect::Consistency;
use super::keys::Key;
use super::{Error, Store, updated_or_refused};
use crate::ids::EventId;

/// How many keys DynamoDB reads in one batch.
const BATCH_MAX: usize = 100;

impl Store {
    /// Those of `events` that have no record.
    pub async fn unknown_events(&self, events: &[EventId]) -> Result<Vec<EventId>, Error> {
        let mut unknown = Vec::new();
        for batch in events.chunks(BATCH_MAX) {
            let keys: Vec<Key> = batch.iter().map(Key::event).collect();
            // They are minutes old; one that is not seen yet would be found out when it is written.
            let items = self.batch_get(&keys, Consistency::Eventual).await?;
            let known: Vec<EventId> = items.iter().filter_map(Key::event_id).collect();
            unknown.extend(batch.iter().filter(|id| !known.contains(id)).cloned());
        }
        Ok(unknown)
    }

    /// The second before which every event was compared; nothing before the first time.
    pub async fn compared_until(&self) -> Result<Option<Timestamp>, Error> {
        let item = self.get(Key::compared()).await?;
        let until = item.as_ref().and_then(|item| item.get("until"));
        let seconds = until.and_then(|until| until.as_n().ok()?.parse().ok());
        Ok(seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()))
    }

    /// Remembers that; never an earlier second than before.
    pub async fn set_compared_until(&self, until: Timestamp) -> Result<(), Error> {
        let until = AttributeValue::N(until.as_second().to_string());
        let updated = self
            .client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(Key::compared().attributes()))
            .update_expression("SET #until = :until")
            .condition_expression("attribute_not_exists(#until) OR #until < :until")
            .expression_attribute_names("#until", "until")
            .expression_attribute_values(":until", until)
            .send()
            .await;
        updated_or_refused(updated)
    }
}
