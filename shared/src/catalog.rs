//! What is sold, and which of Stripe's prices stand for it.
//!
//! [`Definition`] is `catalog.toml` as its owner wrote it; [`Catalog`] joins it with the price ids of
//! one Stripe account, as `tollgate catalog sync` found or made them. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::PriceId;

mod definition;

pub use definition::{
    Definition, Free, Interval, InvalidDefinition, Pack, Plan, ProrationBehavior, Seats,
};

/// An amount in the smallest unit, by lower-case ISO currency code.
pub type Amounts = BTreeMap<String, i64>;

/// The catalogue with the price ids of one Stripe account; the table's `CATALOG` item.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Catalog {
    /// What the owner declared.
    pub definition: Definition,
    /// Stripe's prices by lookup key.
    pub prices: BTreeMap<String, StripePrices>,
}

/// The prices that one entry of the catalogue has had.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct StripePrices {
    /// What a new Checkout uses.
    pub current: PriceId,
    /// What earlier subscribers may still pay.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<PriceId>,
}

/// One thing that can be bought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'c> {
    /// A plan, paid every interval.
    Plan(&'c Plan, Interval),
    /// A token pack, paid once or every interval.
    Pack(&'c Pack),
}

/// One thing that can be bought, with what Stripe sells it by.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer<'c> {
    /// What it is.
    pub item: Item<'c>,
    /// Stripe's lookup key of its price.
    pub lookup_key: String,
    /// Amounts by currency.
    pub amounts: &'c Amounts,
}

impl<'c> Item<'c> {
    /// How often it is paid; a one-time pack has none.
    pub fn interval(self) -> Option<Interval> {
        match self {
            Self::Plan(_, interval) => Some(interval),
            Self::Pack(pack) => pack.interval,
        }
    }

    /// Name of the product.
    pub fn name(self) -> &'c str {
        match self {
            Self::Plan(plan, _) => &plan.name,
            Self::Pack(pack) => &pack.name,
        }
    }

    /// The catalogue's key of it.
    pub fn key(self) -> &'c str {
        match self {
            Self::Plan(plan, _) => &plan.key,
            Self::Pack(pack) => &pack.key,
        }
    }
}

impl Definition {
    /// Everything that can be bought, plans first, each price once.
    pub fn offers(&self) -> impl Iterator<Item = Offer<'_>> {
        let plans = self.plans.iter().flat_map(|plan| {
            plan.prices.iter().map(move |(interval, amounts)| Offer {
                item: Item::Plan(plan, *interval),
                lookup_key: format!("tollgate_{}_{}", plan.key, interval.as_str()),
                amounts,
            })
        });
        let packs = self.packs.iter().map(|pack| Offer {
            item: Item::Pack(pack),
            lookup_key: format!("tollgate_{}", pack.key),
            amounts: &pack.price,
        });
        plans.chain(packs)
    }
}

impl Catalog {
    /// The offer that a Stripe price stands for, also when it is a former one.
    pub fn offer_of(&self, price_id: &PriceId) -> Option<Offer<'_>> {
        let (lookup_key, _) = self
            .prices
            .iter()
            .find(|(_, prices)| prices.current == *price_id || prices.former.contains(price_id))?;
        self.definition
            .offers()
            .find(|offer| offer.lookup_key == *lookup_key)
    }

    /// The plan of that key at that interval, with the price a new Checkout uses.
    pub fn plan(&self, key: &str, interval: Interval) -> Option<(Offer<'_>, &PriceId)> {
        self.current(
            |item| matches!(item, Item::Plan(plan, each) if plan.key == key && each == interval),
        )
    }

    /// The pack of that key, with the price a new Checkout uses.
    pub fn pack(&self, key: &str) -> Option<(Offer<'_>, &PriceId)> {
        self.current(|item| matches!(item, Item::Pack(pack) if pack.key == key))
    }

    /// The offer whose current price has that id: a former price is not sold any more.
    pub fn by_current_price(&self, price_id: &PriceId) -> Option<(Offer<'_>, &PriceId)> {
        let offer = self.offer_of(price_id)?;
        let current = &self.prices.get(&offer.lookup_key)?.current;
        (current == price_id).then_some((offer, current))
    }

    fn current(&self, wanted: impl Fn(Item<'_>) -> bool) -> Option<(Offer<'_>, &PriceId)> {
        let offer = self.definition.offers().find(|offer| wanted(offer.item))?;
        let price_id = &self.prices.get(&offer.lookup_key)?.current;
        Some((offer, price_id))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The catalogue that ships, with made-up price ids: `price_` and the lookup key.
    pub(crate) fn shipped() -> Catalog {
        let definition = Definition::parse(include_str!("../../catalog.toml")).unwrap();
        let prices = definition.offers().map(|offer| {
            let current = PriceId::from(offer.lookup_key.replace("tollgate", "price"));
            (
                offer.lookup_key,
                StripePrices {
                    current,
                    former: vec![],
                },
            )
        });
        Catalog {
            prices: prices.collect(),
            definition: definition.clone(),
        }
    }

    #[test]
    fn the_catalogue_that_ships_is_what_the_documentation_speaks_of() {
        let catalog = shipped();
        let keys: Vec<String> = catalog
            .definition
            .offers()
            .map(|offer| offer.lookup_key)
            .collect();
        assert_eq!(
            keys,
            [
                "tollgate_starter_month",
                "tollgate_starter_year",
                "tollgate_pro_month",
                "tollgate_pro_year",
                "tollgate_tokens_1000",
                "tollgate_tokens_monthly"
            ]
        );
        assert_eq!(catalog.definition.grace_days, 7);
        let (pro, _) = catalog.plan("pro", Interval::Month).unwrap();
        assert!(
            matches!(pro.item, Item::Plan(plan, _) if plan.trial_days == Some(14) && plan.tokens_per_period == 10_000)
        );
        assert_eq!(pro.amounts.keys().collect::<Vec<_>>(), ["eur", "usd"]);
    }

    #[test]
    fn a_former_price_is_known_but_not_sold() {
        let mut catalog = shipped();
        let prices = catalog.prices.get_mut("tollgate_pro_month").unwrap();
        let former = std::mem::replace(&mut prices.current, "price_new".into());
        prices.former.push(former.clone());
        assert_eq!(catalog.offer_of(&former).unwrap().item.key(), "pro");
        assert!(catalog.by_current_price(&former).is_none());
        assert_eq!(
            catalog
                .by_current_price(&"price_new".into())
                .unwrap()
                .0
                .item
                .key(),
            "pro"
        );
        assert!(catalog.offer_of(&"price_other".into()).is_none());
    }
}
