//! A tolerant view of Stripe's subscription, in all its shapes since API version 2020-08-27.
//!
//! The same view reads an answer of Stripe's API, an event's payload, and the table. Only fields that
//! are read are here, under Stripe's names. <https://docs.stripe.com/api/subscriptions/object>

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{CustomerId, PriceId, SubscriptionId};

/// A subscription as Stripe last showed it. This is also the form in which the table keeps it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Subscription {
    /// `sub_…`
    pub id: SubscriptionId,
    /// Where it stands.
    pub status: SubscriptionStatus,
    /// The price of its first item; absent when it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_id: Option<PriceId>,
    /// The quantity of its first item.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub quantity: u64,
    /// The currency it is paid in, in lower case.
    pub currency: String,
    /// When it was made.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub created: Timestamp,
    /// Start of the period that the last renewal began.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub current_period_start: Timestamp,
    /// End of that period.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub current_period_end: Timestamp,
    /// When it ends or ended on request, whichever of `cancel_at` and `cancel_at_period_end` says so.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::second::optional"
    )]
    pub cancel_at: Option<Timestamp>,
    /// When its trial ends or ended.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::second::optional"
    )]
    pub trial_end: Option<Timestamp>,
    /// When it ended.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::second::optional"
    )]
    pub ended_at: Option<Timestamp>,
    /// Set while an active period was never paid for: the first payment is still on its way, as with
    /// SEPA, or collection is paused. <https://docs.stripe.com/billing/subscriptions/pause-payment>
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_payment: bool,
    /// When the invoice was made that is not paid; grace counts from here.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::second::optional"
    )]
    pub unpaid_since: Option<Timestamp>,
}

fn one() -> u64 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_one(quantity: &u64) -> bool {
    *quantity == 1
}

/// Stripe's `status`. <https://docs.stripe.com/api/subscriptions/object#subscription_object-status>
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// The first payment has not been made yet.
    Incomplete,
    /// The first payment was not made in time.
    IncompleteExpired,
    /// In its trial.
    Trialing,
    /// Paid.
    Active,
    /// The latest invoice could not be collected; Stripe goes on trying.
    PastDue,
    /// Stripe has stopped trying; invoices stay open.
    Unpaid,
    /// Over.
    Canceled,
    /// The trial ended without a payment method.
    Paused,
    /// A word that is not known here; it never gives access.
    #[serde(other)]
    Unknown,
}

impl SubscriptionStatus {
    /// Stripe's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Canceled => "canceled",
            Self::Paused => "paused",
            Self::Unknown => "unknown",
        }
    }

    /// Whether a second subscription beside this one would bill twice, now or later. What is not
    /// known counts as live: in doubt there is no second Checkout. An incomplete one is not: it was
    /// never paid, and Stripe expires it within a day.
    pub fn is_live(self) -> bool {
        match self {
            Self::Trialing
            | Self::Active
            | Self::PastDue
            | Self::Unpaid
            | Self::Paused
            | Self::Unknown => true,
            Self::Incomplete | Self::IncompleteExpired | Self::Canceled => false,
        }
    }
}

/// A subscription as Stripe writes it, whichever version it writes.
#[derive(Debug, Deserialize)]
pub struct StripeSubscription {
    id: SubscriptionId,
    customer: Expandable,
    status: SubscriptionStatus,
    created: i64,
    #[serde(default)]
    currency: Option<String>,
    /// Until 2025-03-31.basil; on the items since.
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
    cancel_at: Option<i64>,
    #[serde(default)]
    cancel_at_period_end: bool,
    trial_end: Option<i64>,
    ended_at: Option<i64>,
    latest_invoice: Option<Value>,
    pause_collection: Option<Value>,
    #[serde(default)]
    items: Items,
}

#[derive(Debug, Default, Deserialize)]
struct Items {
    #[serde(default)]
    data: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct Item {
    price: Option<Price>,
    quantity: Option<u64>,
    current_period_start: Option<i64>,
    current_period_end: Option<i64>,
}

#[derive(Debug, Deserialize)]
struct Price {
    id: PriceId,
    currency: Option<String>,
}

/// An id, or the object with its id: Stripe writes either, as `expand` says.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Expandable {
    /// The id alone.
    Id(String),
    /// The whole object.
    Object {
        /// Its id.
        id: String,
    },
}

impl Expandable {
    /// The id.
    pub fn id(&self) -> &str {
        match self {
            Self::Id(id) | Self::Object { id } => id,
        }
    }
}

impl StripeSubscription {
    /// Whose subscription it is.
    pub fn customer(&self) -> CustomerId {
        self.customer.id().into()
    }

    /// The form that is kept. `None` when a time is missing that every version has.
    pub fn into_kept(self) -> Option<Subscription> {
        let time = |seconds: i64| Timestamp::from_second(seconds).ok();
        let first = self.items.data.into_iter().next();
        let (from_item_start, from_item_end) = first
            .as_ref()
            .map(|item| (item.current_period_start, item.current_period_end))
            .unwrap_or_default();
        let current_period_start = time(self.current_period_start.or(from_item_start)?)?;
        let current_period_end = time(self.current_period_end.or(from_item_end)?)?;
        let at_period_end = self.cancel_at_period_end.then_some(current_period_end);
        let is_behind = matches!(
            self.status,
            SubscriptionStatus::PastDue | SubscriptionStatus::Unpaid
        );
        let unpaid_since = is_behind.then(|| {
            let created = self
                .latest_invoice
                .as_ref()
                .and_then(|invoice| invoice.get("created")?.as_i64());
            created.and_then(time).unwrap_or(current_period_start)
        });
        let of_invoice = |name: &str| {
            self.latest_invoice
                .as_ref()
                .and_then(|invoice| invoice.get(name)?.as_str())
        };
        let is_first = of_invoice("billing_reason") == Some("subscription_create");
        let is_unpaid = of_invoice("status").is_some_and(|status| status != "paid");
        let awaits_payment = is_unpaid && (is_first || self.pause_collection.is_some());
        let (price, quantity) = first
            .map(|item| (item.price, item.quantity))
            .unwrap_or_default();
        let currency = self
            .currency
            .or_else(|| price.as_ref()?.currency.clone())
            .unwrap_or_default();
        Some(Subscription {
            id: self.id,
            status: self.status,
            price_id: price.map(|price| price.id),
            quantity: quantity.unwrap_or(1),
            currency,
            created: time(self.created)?,
            current_period_start,
            current_period_end,
            cancel_at: self.cancel_at.and_then(time).or(at_period_end),
            trial_end: self.trial_end.and_then(time),
            ended_at: self.ended_at.and_then(time),
            awaits_payment,
            unpaid_since,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;

    use super::*;

    fn kept(value: Value) -> Subscription {
        serde_json::from_value::<StripeSubscription>(value)
            .unwrap()
            .into_kept()
            .unwrap()
    }

    /// A subscription in the shape of the newest version.
    pub(crate) fn dahlia(id: &str, status: &str) -> Value {
        json!({
            "id": id, "object": "subscription", "customer": "cus_1", "status": status, "created": 1_790_000_000,
            "currency": "usd", "cancel_at": null, "cancel_at_period_end": false, "trial_end": null, "ended_at": null,
            "latest_invoice": "in_1",
            "items": {"object": "list", "data": [{
                "id": "si_1", "price": {"id": "price_pro_month", "currency": "usd"}, "quantity": 3,
                "current_period_start": 1_790_000_000, "current_period_end": 1_792_592_000,
            }]},
        })
    }

    #[test]
    fn f13_the_period_is_read_from_the_subscription_or_from_its_item() {
        let newest = kept(dahlia("sub_1", "active"));
        let mut older = dahlia("sub_1", "active");
        older["current_period_start"] = json!(1_790_000_000);
        older["current_period_end"] = json!(1_792_592_000);
        let item = older["items"]["data"][0].as_object_mut().unwrap();
        item.remove("current_period_start");
        item.remove("current_period_end");
        assert_eq!(kept(older), newest);
        assert_eq!(newest.current_period_end.as_second(), 1_792_592_000);
        assert_eq!(
            (newest.quantity, newest.price_id.unwrap().as_str()),
            (3, "price_pro_month")
        );
    }

    #[test]
    fn f16_the_end_is_read_from_either_field() {
        let mut at_period_end = dahlia("sub_1", "active");
        at_period_end["cancel_at_period_end"] = json!(true);
        let mut at = dahlia("sub_1", "active");
        at["cancel_at"] = json!(1_792_592_000);
        assert_eq!(kept(at_period_end).cancel_at, kept(at).cancel_at);
    }

    #[test]
    fn what_is_unpaid_counts_from_its_invoice() {
        let mut past_due = dahlia("sub_1", "past_due");
        assert_eq!(
            kept(past_due.clone()).unpaid_since.unwrap().as_second(),
            1_790_000_000
        );
        past_due["latest_invoice"] = json!({"id": "in_1", "created": 1_790_003_600});
        assert_eq!(
            kept(past_due).unpaid_since.unwrap().as_second(),
            1_790_003_600
        );
    }

    #[test]
    fn f23_an_active_period_may_still_await_its_payment() {
        for (reason, status, paused, expected) in [
            ("subscription_create", "open", json!(null), true),
            ("subscription_create", "paid", json!(null), false),
            ("subscription_cycle", "open", json!(null), false),
            (
                "subscription_cycle",
                "void",
                json!({"behavior": "void"}),
                true,
            ),
            (
                "subscription_cycle",
                "draft",
                json!({"behavior": "keep_as_draft"}),
                true,
            ),
            (
                "subscription_cycle",
                "paid",
                json!({"behavior": "void"}),
                false,
            ),
        ] {
            let mut active = dahlia("sub_1", "active");
            active["latest_invoice"] =
                json!({"id": "in_1", "created": 1, "status": status, "billing_reason": reason});
            active["pause_collection"] = paused;
            assert_eq!(kept(active).awaits_payment, expected, "{reason} {status}");
        }
    }

    #[test]
    fn an_unknown_status_is_its_own_and_live() {
        let status = kept(dahlia("sub_1", "suspended")).status;
        assert_eq!(status, SubscriptionStatus::Unknown);
        assert!(status.is_live());
    }

    #[test]
    fn what_is_kept_reads_back_the_same() {
        let subscription = kept(dahlia("sub_1", "trialing"));
        let written = serde_json::to_value(&subscription).unwrap();
        assert!(
            written
                .as_object()
                .unwrap()
                .values()
                .all(|value| !value.is_null())
        );
        assert_eq!(
            serde_json::from_value::<Subscription>(written).unwrap(),
            subscription
        );
    }
}
