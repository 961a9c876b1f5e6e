//! Spending tokens: one transaction that takes them from the balance and writes the ledger's entry.
//!
//! Spenders do not read first, so that many can spend at once; the balance never falls below zero by
//! spending, and one key spends once.

use aws_sdk_dynamodb::types::{
    AttributeValue, ReturnValuesOnConditionCheckFailure, TransactWriteItem, Update,
};
use jiff::Timestamp;

use super::effect::DatedEntry;
use super::keys::Key;
use super::transaction::Outcome;
use super::{Error, Store, built};
use crate::ids::UserId;
use crate::sale::{LedgerEntry, Reason};

/// What became of spending.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spent {
    /// The tokens are spent.
    Spent,
    /// They were spent under this key before.
    Already,
    /// There are not as many.
    Insufficient,
}

impl Store {
    /// Spends `tokens` of the user's balance under the caller's idempotency key.
    pub async fn spend(
        &self,
        user_id: &UserId,
        key: &str,
        tokens: u32,
        writer: &str,
        now: Timestamp,
    ) -> Result<Spent, Error> {
        let entry = LedgerEntry {
            source: format!("spend#{key}"),
            tokens: -i64::from(tokens),
            reason: Reason::Spend,
        };
        let item = Key::ledger(user_id, &entry.source).item(&DatedEntry {
            entry: &entry,
            at: now.as_second(),
            writer: Some(writer),
        })?;
        let entry_put = built(
            aws_sdk_dynamodb::types::Put::builder()
                .table_name(&self.table)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(pk)"),
        )?;
        let balance_update = Update::builder()
            .table_name(&self.table)
            .set_key(Some(Key::account(user_id).attributes()))
            .update_expression(
                "SET token_balance = token_balance - :tokens, version = version + :one",
            )
            .condition_expression("token_balance >= :tokens")
            .expression_attribute_values(":tokens", AttributeValue::N(tokens.to_string()))
            .expression_attribute_values(":one", AttributeValue::N("1".to_owned()))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .build()
            .map_err(|error| Error::Unavailable(error.to_string()))?;
        let balance_update = TransactWriteItem::builder().update(balance_update).build();
        match self
            .transact(entry_put, vec![balance_update], writer)
            .await?
        {
            Outcome::Committed => Ok(Spent::Spent),
            Outcome::Refused { index: 0, .. } => Ok(Spent::Already),
            Outcome::Refused { .. } => Ok(Spent::Insufficient),
        }
    }
}
