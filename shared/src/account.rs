//! What is known of one user: the facts from which access is computed, and the Checkout in progress.
//!
//! Pure data. `version` is the fence: every write of an account is conditional on the version that was
//! read, and raises it by one.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::ids::{CustomerId, PriceId, SessionId, SubscriptionId, UserId};
use crate::subscription::{Subscription, SubscriptionStatus};

/// How much our clock may be ahead of Stripe's when we judge whether a fetch contains an event.
pub const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(2);

/// The most subscriptions that an account keeps; live ones come first.
const SUBSCRIPTIONS_MAX: usize = 20;

/// One user's account; the table's item `USER#<user_id>`, `ACCOUNT`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Account {
    /// Whose account it is.
    pub user_id: UserId,
    /// The fence; 0 means that the account was never written.
    pub version: u64,
    /// The one Stripe customer of this user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<CustomerId>,
    /// How often creating the customer failed for good, or a customer was deleted at Stripe by hand;
    /// part of the idempotency key, under which Stripe would repeat a failure for a day.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub customer_attempts: u32,
    /// Subscriptions as Stripe last showed them: what is not over, and the latest that is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subscriptions: Vec<Subscription>,
    /// When the fetch began that `subscriptions` come from.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::second::optional"
    )]
    pub synced_at: Option<Timestamp>,
    /// Sum of the token ledger.
    #[serde(default)]
    pub token_balance: i64,
    /// When the user first had a trial; there is one per user.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "jiff::fmt::serde::timestamp::second::optional"
    )]
    pub trial_claimed_at: Option<Timestamp>,
    /// How many Checkouts were begun; part of the idempotency key.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub checkouts_begun: u32,
    /// The Checkout in progress: there is at most one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkout: Option<Checkout>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// A reservation: the intent is written before Stripe is asked, so that a repeat after a crash asks
/// for exactly the same under the same idempotency key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Checkout {
    /// Which of the user's Checkouts this is.
    pub attempt: u32,
    /// What is bought, with everything that Stripe is told.
    pub purchase: Purchase,
    /// When the reservation was made.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub begun_at: Timestamp,
    /// When Stripe closes the session.
    #[serde(with = "jiff::fmt::serde::timestamp::second::required")]
    pub expires_at: Timestamp,
    /// The session, once Stripe has answered and the answer was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Session>,
}

/// A Checkout Session at Stripe.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Session {
    /// `cs_…`
    pub id: SessionId,
    /// The hosted page.
    pub url: String,
}

/// What a user buys, resolved against the catalogue and the account.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Purchase {
    /// The catalogue's key of the plan or pack.
    pub key: String,
    /// Whether it is a plan or a token pack.
    pub kind: PurchaseKind,
    /// Stripe's price.
    pub price_id: PriceId,
    /// Whether the price recurs.
    pub recurring: bool,
    /// How many.
    pub quantity: u64,
    /// Whether the user may change the quantity on Stripe's page, and within which bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<(u64, u64)>,
    /// Currency in lower case.
    pub currency: String,
    /// Where the browser goes after payment.
    pub success_url: String,
    /// Where the browser goes when the user turns back.
    pub cancel_url: String,
    /// Days of trial that this purchase begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_days: Option<u16>,
    /// Whether the page has a field for a promotion code.
    pub promotion_codes: bool,
    /// Whether Stripe Tax computes the tax.
    pub automatic_tax: bool,
}

/// Whether a purchase is a plan or a token pack.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseKind {
    /// A plan of the catalogue.
    Plan,
    /// A token pack of the catalogue.
    Pack,
}

impl Account {
    /// The account of a user of whom nothing is known yet.
    pub fn new(user_id: UserId) -> Self {
        Self {
            user_id,
            version: 0,
            customer_id: None,
            customer_attempts: 0,
            subscriptions: Vec::new(),
            synced_at: None,
            token_balance: 0,
            trial_claimed_at: None,
            checkouts_begun: 0,
            checkout: None,
        }
    }

    /// The subscription because of which there must be no second one.
    pub fn live_subscription(&self) -> Option<&Subscription> {
        self.subscriptions
            .iter()
            .find(|subscription| subscription.status.is_live())
    }

    /// Whether more than one subscription bills this user: never by our doing, but possible by hand.
    pub fn is_billed_twice(&self) -> bool {
        let live = self
            .subscriptions
            .iter()
            .filter(|subscription| subscription.status.is_live());
        live.count() > 1
    }

    /// Whether the last fetch already contains an event created in that second: it began after the
    /// second was over, by [`CLOCK_MARGIN`] at least.
    pub fn contains(&self, created: Timestamp) -> bool {
        let over = created
            .as_second()
            .saturating_add(1)
            .saturating_add(CLOCK_MARGIN.as_secs());
        self.synced_at.is_some_and(|at| at.as_second() >= over)
    }

    /// Takes over what Stripe answered to a fetch that began at `fetched_at`.
    pub fn sync(&mut self, mut fetched: Vec<Subscription>, fetched_at: Timestamp) {
        for subscription in &mut fetched {
            self.keep_unpaid_since(subscription);
        }
        let over = |subscription: &Subscription| match subscription.status {
            SubscriptionStatus::Canceled | SubscriptionStatus::IncompleteExpired => true,
            SubscriptionStatus::Incomplete
            | SubscriptionStatus::Trialing
            | SubscriptionStatus::Active
            | SubscriptionStatus::PastDue
            | SubscriptionStatus::Unpaid
            | SubscriptionStatus::Paused
            | SubscriptionStatus::Unknown => false,
        };
        let trial = fetched
            .iter()
            .filter(|s| s.trial_end.is_some())
            .map(|s| s.created)
            .min();
        self.trial_claimed_at = self.trial_claimed_at.into_iter().chain(trial).min();
        // Newest first, by what Stripe says and not by the order of its answer.
        fetched.sort_by(|a, b| (over(a), b.created, &b.id).cmp(&(over(b), a.created, &a.id)));
        let mut over_kept = false;
        fetched
            .retain(|subscription| !over(subscription) || !std::mem::replace(&mut over_kept, true));
        fetched.truncate(SUBSCRIPTIONS_MAX);
        self.subscriptions = fetched;
        self.synced_at = self.synced_at.max(Some(fetched_at));
    }

    /// While a subscription stays behind, later invoices do not begin its grace again.
    fn keep_unpaid_since(&self, fetched: &mut Subscription) {
        let known = self
            .subscription(&fetched.id)
            .and_then(|known| known.unpaid_since);
        if let (Some(known), Some(since)) = (known, fetched.unpaid_since) {
            fetched.unpaid_since = Some(known.min(since));
        }
    }

    fn subscription(&self, id: &SubscriptionId) -> Option<&Subscription> {
        self.subscriptions
            .iter()
            .find(|subscription| subscription.id == *id)
    }

    /// The customer does not exist at Stripe any more, nor do their subscriptions.
    pub fn lose_customer(&mut self) {
        self.customer_id = None;
        self.customer_attempts = self.customer_attempts.saturating_add(1);
        self.subscriptions = Vec::new();
        self.checkout = None;
    }

    /// Whether the account already says of subscriptions what Stripe answered.
    pub fn agrees_with(&self, fetched: &[Subscription]) -> bool {
        let mut synced = self.clone();
        synced.sync(fetched.to_vec(), Timestamp::MIN);
        synced.same_facts(self)
    }

    /// Whether both say the same of the user, whenever they were read.
    pub fn same_facts(&self, other: &Self) -> bool {
        Self {
            synced_at: None,
            version: 0,
            ..self.clone()
        } == Self {
            synced_at: None,
            version: 0,
            ..other.clone()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    pub(crate) const DAY: i64 = 86_400;
    pub(crate) const START: i64 = 1_790_000_000;

    /// A pro subscription whose period is thirty days from `START`.
    pub(crate) fn subscription(id: &str, status: SubscriptionStatus) -> Subscription {
        Subscription {
            id: id.into(),
            status,
            price_id: Some("price_pro_month".into()),
            quantity: 1,
            currency: "usd".into(),
            created: at(START),
            current_period_start: at(START),
            current_period_end: at(START + 30 * DAY),
            cancel_at: None,
            trial_end: None,
            ended_at: None,
            awaits_payment: false,
            unpaid_since: None,
        }
    }

    pub(crate) fn account(subscriptions: Vec<Subscription>) -> Account {
        Account {
            subscriptions,
            version: 1,
            customer_id: Some("cus_1".into()),
            ..Account::new("alice".into())
        }
    }

    #[test]
    fn a_fetch_contains_what_happened_before_it_began_and_the_margin() {
        let mut account = account(vec![]);
        assert!(!account.contains(at(START)));
        account.synced_at = Some(at(START + 2));
        assert!(
            !account.contains(at(START)),
            "within the second and the margin"
        );
        account.synced_at = Some(at(START + 3));
        assert!(account.contains(at(START)));
        assert!(!account.contains(at(START + 1)));
    }

    #[test]
    fn sync_keeps_what_lives_and_the_latest_that_is_over() {
        let mut old = subscription("sub_old", SubscriptionStatus::Canceled);
        old.created = at(START - 2 * DAY);
        let mut newer = subscription("sub_newer", SubscriptionStatus::Canceled);
        newer.created = at(START - DAY);
        let live = subscription("sub_live", SubscriptionStatus::Active);
        let mut one = account(vec![]);
        one.sync(vec![old.clone(), live.clone(), newer.clone()], at(START));
        let mut two = account(vec![]);
        two.sync(vec![newer, old, live], at(START));
        assert_eq!(one, two);
        assert_eq!(
            one.subscriptions
                .iter()
                .map(|s| s.id.as_str())
                .collect::<Vec<_>>(),
            ["sub_live", "sub_newer"]
        );
    }

    #[test]
    fn f08_a_second_live_subscription_is_noticed() {
        let active = |id| subscription(id, SubscriptionStatus::Active);
        let ended = subscription("sub_3", SubscriptionStatus::Canceled);
        assert!(!account(vec![active("sub_1"), ended]).is_billed_twice());
        assert!(account(vec![active("sub_1"), active("sub_2")]).is_billed_twice());
    }

    #[test]
    fn f27_a_trial_is_claimed_for_good() {
        let mut trialing = subscription("sub_1", SubscriptionStatus::Trialing);
        trialing.trial_end = Some(at(START + 14 * DAY));
        let mut account = account(vec![]);
        account.sync(vec![trialing], at(START));
        account.sync(vec![], at(START + DAY));
        assert_eq!(account.trial_claimed_at, Some(at(START)));
    }

    #[test]
    fn an_account_agrees_with_an_answer_that_would_change_nothing() {
        let active = subscription("sub_1", SubscriptionStatus::Active);
        let ended = subscription("sub_1", SubscriptionStatus::Canceled);
        let mut account = account(vec![]);
        account.sync(vec![active.clone()], at(START));
        assert!(account.agrees_with(&[active]));
        assert!(!account.agrees_with(&[ended]));
        assert!(!account.agrees_with(&[]));
    }

    #[test]
    fn a_later_unpaid_invoice_does_not_begin_grace_again() {
        let mut behind = subscription("sub_1", SubscriptionStatus::PastDue);
        behind.unpaid_since = Some(at(START));
        let mut account = account(vec![]);
        account.sync(vec![behind.clone()], at(START));
        behind.unpaid_since = Some(at(START + 30 * DAY));
        account.sync(vec![behind], at(START + 30 * DAY));
        assert_eq!(account.subscriptions[0].unpaid_since, Some(at(START)));
    }
}
