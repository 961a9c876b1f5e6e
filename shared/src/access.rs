//! What a user may use: computed whenever it is asked, from the account, the catalogue's policy and the
//! clock. Pure.
//!
//! Nothing has to run for access to end. There is none without payment, trial or declared grace.

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::account::Account;
use crate::catalog::{Catalog, Item};
use crate::subscription::{Subscription, SubscriptionStatus};

/// How much of the product a user has.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// The free tier.
    Inactive,
    /// Not paid for now, and not locked out yet.
    Grace,
    /// In a trial.
    Trialing,
    /// Paid.
    Active,
}

/// Access at one moment, with the subscription that it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Access<'a> {
    /// How much.
    pub level: Level,
    /// When grace ends, while it lasts.
    pub grace_until: Option<Timestamp>,
    /// The subscription that gives access, or the latest one that does not any more.
    pub subscription: Option<&'a Subscription>,
}

impl<'a> Access<'a> {
    /// Access of `account` at `now`: the best that any of its subscriptions gives.
    pub fn of(account: &'a Account, catalog: &Catalog, now: Timestamp) -> Self {
        let grace = SignedDuration::from_hours(24 * i64::from(catalog.definition.grace_days));
        account
            .subscriptions
            .iter()
            .map(|subscription| by_subscription(subscription, grace, now))
            .max_by_key(|access| {
                (
                    access.level,
                    access.subscription.map(|s| (s.status.is_live(), s.created)),
                )
            })
            .unwrap_or(Self {
                level: Level::Inactive,
                grace_until: None,
                subscription: None,
            })
    }

    /// What the catalogue sells for the subscription's price, while access lasts.
    pub fn item<'c>(&self, catalog: &'c Catalog) -> Option<Item<'c>> {
        if self.level == Level::Inactive {
            return None;
        }
        let price_id = self.subscription?.price_id.as_ref()?;
        catalog.offer_of(price_id).map(|offer| offer.item)
    }

    /// Features and limits: the plan's, or the free tier's. A plan that may be bought several times over
    /// has its `seats` as often.
    pub fn features(&self, catalog: &Catalog) -> Map<String, Value> {
        match self.item(catalog) {
            Some(Item::Plan(plan, _)) => {
                let mut features = plan.features.clone();
                let each = features.get("seats").and_then(Value::as_u64);
                if let (Some(_), Some(each), Some(subscription)) =
                    (plan.seats, each, self.subscription)
                {
                    features.insert(
                        "seats".to_owned(),
                        each.saturating_mul(subscription.quantity).into(),
                    );
                }
                features
            }
            Some(Item::Pack(_)) | None => catalog.definition.free.features.clone(),
        }
    }
}

fn by_subscription(
    subscription: &Subscription,
    grace: SignedDuration,
    now: Timestamp,
) -> Access<'_> {
    let give = |level, grace_until| Access {
        level,
        grace_until,
        subscription: Some(subscription),
    };
    let nothing = give(Level::Inactive, None);
    let until = |from: Timestamp| match from.checked_add(grace) {
        Ok(end) if now < end => give(Level::Grace, Some(end)),
        Ok(_) | Err(_) => nothing,
    };
    if subscription.cancel_at.is_some_and(|end| now >= end) {
        return nothing;
    }
    if subscription.awaits_payment {
        return nothing;
    }
    // A period that is over without word of the next one: a renewal that we have not heard of, or
    // that was not paid. The grace that a failed payment has covers both.
    let paid_for = |level| {
        if now < subscription.current_period_end {
            give(level, None)
        } else {
            until(subscription.current_period_end)
        }
    };
    match subscription.status {
        SubscriptionStatus::Active => paid_for(Level::Active),
        SubscriptionStatus::Trialing => paid_for(Level::Trialing),
        SubscriptionStatus::PastDue => until(
            subscription
                .unpaid_since
                .unwrap_or(subscription.current_period_start),
        ),
        SubscriptionStatus::Incomplete
        | SubscriptionStatus::IncompleteExpired
        | SubscriptionStatus::Unpaid
        | SubscriptionStatus::Canceled
        | SubscriptionStatus::Paused
        | SubscriptionStatus::Unknown => nothing,
    }
}

#[cfg(test)]
mod tests {
    use SubscriptionStatus::{
        Active, Canceled, Incomplete, IncompleteExpired, PastDue, Paused, Trialing, Unknown, Unpaid,
    };

    use super::*;
    use crate::account::tests::{DAY, START, account, at, subscription};
    use crate::catalog::tests::shipped;

    const END: i64 = START + 30 * DAY;

    fn level(subscription: Subscription, now: i64) -> (Level, Option<i64>) {
        let account = account(vec![subscription]);
        let access = Access::of(&account, &shipped(), at(now));
        (
            access.level,
            access.grace_until.map(|until| until.as_second()),
        )
    }

    #[test]
    fn each_status_gives_what_was_paid_for_and_ends_by_the_clock() {
        let late = Some(END + 7 * DAY);
        for (status, now, expected) in [
            (Active, START, (Level::Active, None)),
            (Active, END - 1, (Level::Active, None)),
            (Active, END, (Level::Grace, late)),
            (Active, END + 7 * DAY - 1, (Level::Grace, late)),
            (Active, END + 7 * DAY, (Level::Inactive, None)),
            (Trialing, END - 1, (Level::Trialing, None)),
            (Trialing, END + 7 * DAY, (Level::Inactive, None)),
            (Incomplete, START, (Level::Inactive, None)),
            (IncompleteExpired, START, (Level::Inactive, None)),
            (Unpaid, START, (Level::Inactive, None)),
            (Canceled, START, (Level::Inactive, None)),
            (Paused, START, (Level::Inactive, None)),
            (Unknown, START, (Level::Inactive, None)),
        ] {
            assert_eq!(
                level(subscription("sub_1", status), now),
                expected,
                "{status:?} at {now}"
            );
        }
    }

    #[test]
    fn f22_past_due_has_grace_with_an_end() {
        let mut behind = subscription("sub_1", PastDue);
        behind.unpaid_since = Some(at(START + DAY));
        let until = START + 8 * DAY;
        assert_eq!(
            level(behind.clone(), START + DAY),
            (Level::Grace, Some(until))
        );
        assert_eq!(
            level(behind.clone(), until - 1),
            (Level::Grace, Some(until))
        );
        assert_eq!(level(behind, until), (Level::Inactive, None));
    }

    #[test]
    fn a_requested_end_is_kept_to_the_second() {
        for status in [Active, Trialing, PastDue] {
            let mut ending = subscription("sub_1", status);
            ending.cancel_at = Some(at(END));
            assert_eq!(level(ending, END).0, Level::Inactive, "{status:?}");
        }
    }

    #[test]
    fn f23_a_period_that_awaits_its_payment_gives_nothing() {
        let mut unpaid = subscription("sub_1", Active);
        unpaid.awaits_payment = true;
        assert_eq!(level(unpaid.clone(), START).0, Level::Inactive);
        assert!(
            account(vec![unpaid]).live_subscription().is_some(),
            "and there is no second Checkout"
        );
    }

    #[test]
    fn f12_an_old_subscription_does_not_take_the_new_one_away() {
        let new = subscription("sub_new", Active);
        let mut old = subscription("sub_old", Canceled);
        old.created = at(START + DAY);
        for subscriptions in [vec![new.clone(), old.clone()], vec![old, new]] {
            let account = account(subscriptions);
            let access = Access::of(&account, &shipped(), at(START));
            assert_eq!(
                (access.level, access.subscription.unwrap().id.as_str()),
                (Level::Active, "sub_new")
            );
        }
    }

    #[test]
    fn features_are_the_plans_while_access_lasts() {
        let catalog = shipped();
        let mut pro = subscription("sub_1", Active);
        pro.quantity = 3;
        let mut unlisted = subscription("sub_1", Active);
        unlisted.price_id = Some("price_elsewhere".into());
        for (subscription, now, seats, export) in [
            (pro.clone(), START, 15, true),
            (pro, END + 9 * DAY, 1, false),
            (unlisted, START, 1, false),
        ] {
            let account = account(vec![subscription]);
            let features = Access::of(&account, &catalog, at(now)).features(&catalog);
            assert_eq!(
                (features["seats"].as_i64(), features["export"].as_bool()),
                (Some(seats), Some(export))
            );
        }
    }
}
