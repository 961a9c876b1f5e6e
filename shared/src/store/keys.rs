//! Where each item lies: `pk` and `sk` of the table's section in the design, and nothing else.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::{Deserialize, Serialize};

use crate::ids::{CustomerId, EventId, InvoiceId, PaymentMethodId, UserId};

/// How the sort keys of pointers to unclaimed events begin.
pub(super) const UNCLAIMED_PREFIX: &str = "EVENT#";

/// An item as the SDK has it.
pub(super) type Item = HashMap<String, AttributeValue>;

/// The key of one item.
#[derive(Clone, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub(super) struct Key {
    pk: String,
    sk: String,
}

impl Key {
    fn new(pk: String, sk: impl Into<String>) -> Self {
        Self { pk, sk: sk.into() }
    }

    pub(super) fn account(user_id: &UserId) -> Self {
        Self::new(format!("USER#{user_id}"), "ACCOUNT")
    }

    pub(super) fn invoice(user_id: &UserId, invoice_id: &InvoiceId) -> Self {
        Self::new(format!("USER#{user_id}"), format!("INVOICE#{invoice_id}"))
    }

    pub(super) fn ledger(user_id: &UserId, source: &str) -> Self {
        Self::new(format!("USER#{user_id}"), format!("LEDGER#{source}"))
    }

    pub(super) fn payment(user_id: &UserId, payment: &str) -> Self {
        Self::new(format!("USER#{user_id}"), format!("PAYMENT#{payment}"))
    }

    pub(super) fn payment_method(user_id: &UserId, id: &PaymentMethodId) -> Self {
        Self::new(format!("USER#{user_id}"), format!("PAYMENT_METHOD#{id}"))
    }

    /// A pointer to an event about a customer whom nobody has claimed.
    pub(super) fn unclaimed(customer_id: &CustomerId, event_id: &EventId) -> Self {
        Self::new(
            format!("CUSTOMER#{customer_id}"),
            format!("{UNCLAIMED_PREFIX}{event_id}"),
        )
    }

    pub(super) fn customer(customer_id: &CustomerId) -> Self {
        Self::new(format!("CUSTOMER#{customer_id}"), "USER")
    }

    pub(super) fn event(event_id: &EventId) -> Self {
        Self::new(format!("EVENT#{event_id}"), "EVENT")
    }

    /// The event whose record lies at an item's key.
    pub(super) fn event_id(item: &Item) -> Option<EventId> {
        item.get("pk")?
            .as_s()
            .ok()?
            .strip_prefix("EVENT#")
            .map(EventId::from)
    }

    pub(super) fn catalog() -> Self {
        Self::new("CATALOG".to_owned(), "CATALOG")
    }

    /// Until when Stripe's list of events was compared.
    pub(super) fn compared() -> Self {
        Self::new("RECONCILE".to_owned(), "COMPARED")
    }

    pub(super) fn attributes(&self) -> Item {
        HashMap::from([
            ("pk".to_owned(), AttributeValue::S(self.pk.clone())),
            ("sk".to_owned(), AttributeValue::S(self.sk.clone())),
        ])
    }

    /// The key's item with that content.
    pub(super) fn item<T: Serialize>(&self, content: &T) -> Result<Item, serde_dynamo::Error> {
        let mut item: Item = serde_dynamo::to_item(content)?;
        item.extend(self.attributes());
        Ok(item)
    }

    pub(super) fn partition(&self) -> &str {
        &self.pk
    }

    /// Whether `item` lies here.
    pub(super) fn is_of(&self, item: &Item) -> bool {
        let is = |name: &str, value: &String| matches!(item.get(name), Some(AttributeValue::S(found)) if found == value);
        is("pk", &self.pk) && is("sk", &self.sk)
    }
}
