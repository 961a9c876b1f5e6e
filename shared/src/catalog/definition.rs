//! `catalog.toml`: its shape, and what is checked before anything is made of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Amounts;

/// The longest key; it is part of lookup keys and product ids.
const KEY_LIMIT: usize = 40;

/// What the owner of a SaaS declares to be for sale.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// The currency that every price has, in lower case.
    pub currency: String,
    /// How long access goes on after a failed renewal.
    #[serde(default)]
    pub grace_days: u16,
    /// Whether Checkout shows a field for a promotion code.
    #[serde(default)]
    pub promotion_codes: bool,
    /// Whether Stripe Tax computes the tax.
    #[serde(default)]
    pub automatic_tax: bool,
    /// How a plan change within a period is charged.
    #[serde(default)]
    pub proration_behavior: ProrationBehavior,
    /// What a user without a subscription has.
    pub free: Free,
    /// Plans, in the order in which they are shown.
    #[serde(default)]
    pub plans: Vec<Plan>,
    /// Token packs, in the order in which they are shown.
    #[serde(default)]
    pub packs: Vec<Pack>,
    /// Items written once for a new subscriber, by name.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub initial_data: Map<String, Value>,
}

/// What a user without a subscription has.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Free {
    /// Shown name.
    pub name: String,
    /// Features and limits.
    #[serde(default)]
    pub features: Map<String, Value>,
}

/// A plan: paid every month or year.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// What clients name it by.
    pub key: String,
    /// Shown name; Stripe's product name.
    pub name: String,
    /// Shown sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Features and limits.
    #[serde(default)]
    pub features: Map<String, Value>,
    /// Tokens granted for every paid period.
    #[serde(default)]
    pub tokens_per_period: i64,
    /// Days of trial, once per user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trial_days: Option<u16>,
    /// Set when the plan may be bought several times over; its feature `seats` is what each one brings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seats: Option<Seats>,
    /// Amounts by interval and currency.
    pub prices: BTreeMap<Interval, Amounts>,
}

/// How often a plan may be bought at once.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Seats {
    /// The fewest.
    pub minimum: u64,
    /// The most.
    pub maximum: u64,
}

/// A number of tokens, paid once or every interval.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    /// What clients name it by.
    pub key: String,
    /// Shown name; Stripe's product name.
    pub name: String,
    /// Tokens granted for each payment.
    pub tokens: i64,
    /// Set when the pack is a subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
    /// Amounts by currency.
    pub price: Amounts,
}

/// How often a recurring price is paid.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interval {
    /// Every month.
    Month,
    /// Every year.
    Year,
}

impl Interval {
    /// Stripe's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// Stripe's `proration_behavior`. <https://docs.stripe.com/billing/subscriptions/prorations>
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProrationBehavior {
    /// Charged or credited with the next invoice.
    #[default]
    CreateProrations,
    /// Charged at once.
    AlwaysInvoice,
    /// Nothing is charged or credited.
    None,
}

/// What is wrong with a catalogue, with the entry's key.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDefinition {
    /// The file is not of the expected form.
    #[error("{0}")]
    Form(String),
    /// An entry cannot be used.
    #[error("{key}: {why}")]
    Entry {
        /// Key of the entry.
        key: String,
        /// What is wrong, and what is expected.
        why: &'static str,
    },
}

impl Definition {
    /// Reads and checks `catalog.toml`.
    pub fn parse(toml: &str) -> Result<Self, InvalidDefinition> {
        let definition: Self =
            toml::from_str(toml).map_err(|error| InvalidDefinition::Form(error.to_string()))?;
        definition.check()?;
        Ok(definition)
    }

    fn check(&self) -> Result<(), InvalidDefinition> {
        let refuse = |key: &str, why| {
            Err(InvalidDefinition::Entry {
                key: key.to_owned(),
                why,
            })
        };
        let mut keys = std::collections::BTreeSet::from(["free"]);
        for key in self
            .plans
            .iter()
            .map(|plan| &plan.key)
            .chain(self.packs.iter().map(|pack| &pack.key))
        {
            let is_plain = key
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if key.is_empty() || key.len() > KEY_LIMIT || !is_plain {
                return refuse(key, "a key has 1 to 40 of a-z, 0-9 and _");
            }
            if !keys.insert(key) {
                return refuse(key, "two entries have this key; `free` is taken as well");
            }
        }
        for plan in &self.plans {
            if plan.prices.is_empty() {
                return refuse(&plan.key, "a plan needs prices.month or prices.year");
            }
            if plan.tokens_per_period < 0 {
                return refuse(&plan.key, "tokens_per_period is not negative");
            }
            if plan
                .trial_days
                .is_some_and(|days| !(1..=730).contains(&days))
            {
                return refuse(&plan.key, "trial_days is from 1 to 730");
            }
            if plan
                .seats
                .is_some_and(|seats| seats.minimum == 0 || seats.minimum > seats.maximum)
            {
                return refuse(&plan.key, "seats needs 1 <= minimum <= maximum");
            }
        }
        if let Some(pack) = self.packs.iter().find(|pack| pack.tokens <= 0) {
            return refuse(&pack.key, "a pack grants at least one token");
        }
        for offer in self.offers() {
            let codes_fit = offer
                .amounts
                .keys()
                .all(|code| code.len() == 3 && code.bytes().all(|b| b.is_ascii_lowercase()));
            if !codes_fit {
                return refuse(
                    offer.item.key(),
                    "a currency is a three-letter code in lower case",
                );
            }
            if !offer.amounts.contains_key(&self.currency) {
                return refuse(
                    offer.item.key(),
                    "every price has an amount in the catalogue's own currency",
                );
            }
            if offer
                .amounts
                .values()
                .any(|amount| !(1..=99_999_999).contains(amount))
            {
                return refuse(
                    offer.item.key(),
                    "an amount is from 1 to 99999999 of the smallest unit",
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(from: &str, to: &str) -> String {
        let shipped = include_str!("../../../catalog.toml");
        assert!(shipped.contains(from), "{from}");
        Definition::parse(&shipped.replacen(from, to, 1))
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn a_wrong_catalogue_names_the_entry_and_the_rule() {
        for (from, to, expected) in [
            ("key = \"pro\"", "key = \"Pro\"", "Pro: a key has"),
            ("key = \"pro\"", "key = \"starter\"", "starter: two entries"),
            ("trial_days = 14", "trial_days = 0", "pro: trial_days"),
            ("minimum = 1", "minimum = 0", "pro: seats"),
            ("tokens = 1_000", "tokens = 0", "tokens_1000: a pack"),
            ("usd = 900,", "usd = 0,", "starter: an amount"),
            ("usd = 900,", "USD = 900,", "starter: a currency"),
            ("usd = 900,", "", "starter: every price"),
            (
                "trial_days = 14",
                "trail_days = 14",
                "unknown field `trail_days`",
            ),
            ("usd = 900,", "usd = 9.5,", "invalid type"),
        ] {
            let shown = refusal(from, to);
            assert!(shown.contains(expected), "{shown}");
        }
    }
}
