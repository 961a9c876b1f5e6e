//! What is for sale, as a pricing page shows it.

use serde::Serialize;
use serde_json::{Map, Value};
use shared::catalog::{Amounts, Catalog, Item, Seats};
use shared::ids::PriceId;

/// The answer of `GET /api/billing/plans`.
#[derive(Debug, Serialize)]
pub struct Plans {
    currency: String,
    free: Free,
    plans: Vec<Plan>,
    packs: Vec<Pack>,
}

#[derive(Debug, Serialize)]
struct Free {
    name: String,
    features: Map<String, Value>,
}

#[derive(Debug, Serialize)]
struct Plan {
    key: String,
    name: String,
    description: Option<String>,
    features: Map<String, Value>,
    tokens_per_period: i64,
    trial_days: Option<u16>,
    seats: Option<Seats>,
    prices: Vec<Price>,
}

#[derive(Debug, Serialize)]
struct Price {
    price_id: PriceId,
    interval: Option<&'static str>,
    /// In the smallest unit, by currency.
    amounts: Amounts,
}

#[derive(Debug, Serialize)]
struct Pack {
    key: String,
    name: String,
    tokens: i64,
    #[serde(flatten)]
    price: Price,
}

impl Plans {
    /// What the catalogue sells, with the prices of this Stripe account.
    pub fn of(catalog: &Catalog) -> Self {
        let definition = &catalog.definition;
        let price_where = |wanted: &dyn Fn(Item<'_>) -> bool| -> Vec<Price> {
            let offers = definition.offers().filter(|offer| wanted(offer.item));
            offers
                .filter_map(|offer| {
                    Some(Price {
                        price_id: catalog.prices.get(&offer.lookup_key)?.current.clone(),
                        interval: offer.item.interval().map(|interval| interval.as_str()),
                        amounts: offer.amounts.clone(),
                    })
                })
                .collect()
        };
        let plans = definition.plans.iter().map(|plan| Plan {
            key: plan.key.clone(),
            name: plan.name.clone(),
            description: plan.description.clone(),
            features: plan.features.clone(),
            tokens_per_period: plan.tokens_per_period,
            trial_days: plan.trial_days,
            seats: plan.seats,
            prices: price_where(&|item| matches!(item, Item::Plan(of, _) if of.key == plan.key)),
        });
        let packs = definition.packs.iter().filter_map(|pack| {
            let price =
                price_where(&|item| matches!(item, Item::Pack(of) if of.key == pack.key)).pop()?;
            Some(Pack {
                key: pack.key.clone(),
                name: pack.name.clone(),
                tokens: pack.tokens,
                price,
            })
        });
        Self {
            currency: definition.currency.clone(),
            free: Free {
                name: definition.free.name.clone(),
                features: definition.free.features.clone(),
            },
            plans: plans.collect(),
            packs: packs.collect(),
        }
    }
}
