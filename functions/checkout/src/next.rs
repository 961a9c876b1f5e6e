//! The one next step towards an open session, from what the account says. Pure.
//!
//! When in doubt there is no second Checkout.

use jiff::{SignedDuration, Timestamp};
use shared::account::{Account, Checkout, Purchase, Session};
use shared::ids::CustomerId;
use shared::problem::Problem;

use crate::purchase::Wanted;

/// How long a session can be paid. Stripe allows from 30 minutes to 24 hours.
const SESSION_LIFETIME: SignedDuration = SignedDuration::from_hours(12);

/// A session with less time left than this is not handed out again.
const LIFETIME_LEFT_MIN: SignedDuration = SignedDuration::from_mins(10);

/// How long a reservation without a session is completed as it is, by whoever comes next: only then is
/// it known which session there is to close. Near its end Stripe would not take `expires_at` any more, and
/// nobody ever saw the page of such a session, so the reservation is replaced.
const UNOPENED_LIFETIME: SignedDuration = SignedDuration::from_hours(11);

/// What is to be done next.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// The user is no customer yet.
    ClaimCustomer,
    /// A session for something else is open, or this one is about to end.
    CloseSession {
        customer_id: CustomerId,
        session: Session,
    },
    /// Nothing is reserved.
    Reserve {
        customer_id: CustomerId,
        checkout: Checkout,
    },
    /// It is reserved; Stripe is to be asked, or asked again.
    OpenSession {
        customer_id: CustomerId,
        checkout: Checkout,
    },
    /// It is open.
    Return {
        session: Session,
        expires_at: Timestamp,
    },
}

/// The next step, or why there can be none.
pub(crate) fn next_step(
    account: &Account,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<Step, Problem> {
    let purchase = purchase_of(account, wanted)?;
    if purchase.recurring && account.live_subscription().is_some() {
        return Err(Problem::AlreadySubscribed);
    }
    let Some(customer_id) = account.customer_id.clone() else {
        return Ok(Step::ClaimCustomer);
    };
    let Some(checkout) = account.checkout.clone() else {
        return Ok(Step::Reserve {
            customer_id,
            checkout: reservation(account, purchase, now),
        });
    };
    let same = checkout.purchase == purchase;
    let left = checkout.expires_at.duration_since(now);
    let age = now.duration_since(checkout.begun_at);
    Ok(match checkout.session.clone() {
        Some(session) if same && left >= LIFETIME_LEFT_MIN => Step::Return {
            session,
            expires_at: checkout.expires_at,
        },
        Some(session) => Step::CloseSession {
            customer_id,
            session,
        },
        None if age < UNOPENED_LIFETIME => Step::OpenSession {
            customer_id,
            checkout,
        },
        None => Step::Reserve {
            customer_id,
            checkout: reservation(account, purchase, now),
        },
    })
}

/// The purchase in this user's circumstances: one trial in a life, and the currency that Stripe has
/// locked the customer to.
fn purchase_of(account: &Account, wanted: &Wanted) -> Result<Purchase, Problem> {
    let mut purchase = wanted.purchase.clone();
    if account.trial_claimed_at.is_some() {
        purchase.trial_days = None;
    }
    let locked = account
        .subscriptions
        .first()
        .map(|subscription| subscription.currency.clone());
    match (locked, &wanted.currency) {
        (Some(locked), Some(asked)) if locked != *asked => {
            let why = format!("this customer pays in {locked}; Stripe does not mix currencies");
            return Err(Problem::invalid("currency", why));
        }
        (Some(locked), _) if wanted.currencies.contains(&locked) => purchase.currency = locked,
        (Some(locked), _) => {
            return Err(Problem::invalid(
                "currency",
                format!("this customer pays in {locked}, in which this is not sold"),
            ));
        }
        (None, _) => {}
    }
    Ok(purchase)
}

fn reservation(account: &Account, purchase: Purchase, now: Timestamp) -> Checkout {
    Checkout {
        attempt: account.checkouts_begun.saturating_add(1),
        purchase,
        begun_at: now,
        expires_at: now.saturating_add(SESSION_LIFETIME).unwrap_or(now),
        session: None,
    }
}

#[cfg(test)]
mod tests;
