//! What a user has and may use, in the form in which every service asks for it.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};
use shared::access::{Access, Level};
use shared::account::Account;
use shared::catalog::{Catalog, Item};
use shared::ids::{CustomerId, PriceId, UserId};
use shared::subscription::SubscriptionStatus;

/// The answer of `GET /api/user/me`.
#[derive(Debug, Serialize)]
pub struct Me {
    user_id: UserId,
    access: Level,
    plan: Option<String>,
    price_id: Option<PriceId>,
    interval: Option<&'static str>,
    status: Option<SubscriptionStatus>,
    current_period_end: Option<Timestamp>,
    cancel_at: Option<Timestamp>,
    grace_until: Option<Timestamp>,
    trial_end: Option<Timestamp>,
    features: Map<String, Value>,
    tokens: Tokens,
    stripe_customer_id: Option<CustomerId>,
    /// Always there; API keys are not issued yet.
    api_key: Option<()>,
    as_of: Timestamp,
}

#[derive(Debug, Serialize)]
struct Tokens {
    balance: i64,
}

impl Me {
    /// Computed from what is stored, the catalogue's policy and the clock. `plan` is what gives access
    /// now; the subscription's own fields stay visible after access has ended.
    pub fn of(account: &Account, catalog: &Catalog, now: Timestamp) -> Self {
        let access = Access::of(account, catalog, now);
        let subscription = access.subscription;
        let item = access.item(catalog);
        Self {
            user_id: account.user_id.clone(),
            access: access.level,
            plan: match item {
                Some(Item::Plan(plan, _)) => Some(plan.key.clone()),
                Some(Item::Pack(_)) | None => None,
            },
            price_id: subscription.and_then(|s| s.price_id.clone()),
            interval: item
                .and_then(Item::interval)
                .map(|interval| interval.as_str()),
            status: subscription.map(|s| s.status),
            current_period_end: subscription.map(|s| s.current_period_end),
            cancel_at: subscription.and_then(|s| s.cancel_at),
            grace_until: access.grace_until,
            trial_end: subscription.and_then(|s| s.trial_end),
            features: access.features(catalog),
            tokens: Tokens {
                balance: account.token_balance,
            },
            stripe_customer_id: account.customer_id.clone(),
            api_key: None,
            as_of: now,
        }
    }
}
