//! Identifiers as types of their own, so that one is never passed for another.
//!
//! An identifier is opaque: it is compared and stored, never taken apart. Building one does not check
//! that it exists.

use serde::{Deserialize, Serialize};

/// The longest identifier taken from outside; Stripe's are at most 255 characters long, and the key
/// of a DynamoDB item must hold one with its prefix.
pub const ID_LIMIT_BYTES: usize = 255;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The identifier as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(id: String) -> Self {
                Self(id)
            }
        }

        impl From<&str> for $name {
            fn from(id: &str) -> Self {
                Self(id.to_owned())
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Whom a subscription belongs to: the claim of the access token that `ACCOUNT_CLAIM` names.
    UserId
);
id!(
    /// A Stripe customer, `cus_…`.
    CustomerId
);
id!(
    /// A Stripe event, `evt_…`.
    EventId
);
id!(
    /// A Stripe subscription, `sub_…`.
    SubscriptionId
);
id!(
    /// A Stripe price, `price_…`.
    PriceId
);
id!(
    /// A Stripe Checkout Session, `cs_…`.
    SessionId
);
id!(
    /// A Stripe invoice, `in_…`.
    InvoiceId
);
id!(
    /// A Stripe payment intent, `pi_…`.
    PaymentIntentId
);
id!(
    /// A Stripe charge, `ch_…`.
    ChargeId
);
id!(
    /// A Stripe dispute, `dp_…` or `du_…`.
    DisputeId
);
id!(
    /// A Stripe payment method, `pm_…`.
    PaymentMethodId
);
