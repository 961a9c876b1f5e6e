//! What a client may ask for, resolved against the catalogue: it names things, the catalogue prices them.

use serde::Deserialize;
use shared::account::{Purchase, PurchaseKind};
use shared::catalog::{Catalog, Interval, Item, Offer};
use shared::config::AllowedUrls;
use shared::ids::PriceId;
use shared::problem::Problem;

/// The most of a one-time pack that is sold at once.
const PACKS_MAX: u64 = 100;

/// The body of the request: a plan, a pack or a listed price, and details.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckoutRequest {
    plan: Option<String>,
    interval: Option<Interval>,
    pack: Option<String>,
    price_id: Option<PriceId>,
    currency: Option<String>,
    quantity: Option<u64>,
    success_url: Option<String>,
    cancel_url: Option<String>,
}

/// What is wanted, before the user's own circumstances are known: their trial and their currency.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// The purchase in the catalogue's own currency, with the plan's trial.
    pub(crate) purchase: Purchase,
    /// The currency that the client asked for.
    pub(crate) currency: Option<String>,
    /// The currencies that the price has.
    pub(crate) currencies: Vec<String>,
}

impl CheckoutRequest {
    /// Checks every field; a problem names the field and what it may be.
    pub(crate) fn resolve(self, catalog: &Catalog, urls: &AllowedUrls) -> Result<Wanted, Problem> {
        let (offer, price_id) = self.offer(catalog)?;
        let (kind, seats, trial_days) = match offer.item {
            Item::Plan(plan, _) => (PurchaseKind::Plan, plan.seats, plan.trial_days),
            Item::Pack(_) => (PurchaseKind::Pack, None, None),
        };
        let recurring = offer.item.interval().is_some();
        let bounds = match seats {
            Some(seats) => (seats.minimum, seats.maximum),
            None if recurring => (1, 1),
            None => (1, PACKS_MAX),
        };
        let quantity = self.quantity.unwrap_or(bounds.0);
        if !(bounds.0..=bounds.1).contains(&quantity) {
            let why = format!(
                "this is sold in quantities from {} to {}",
                bounds.0, bounds.1
            );
            return Err(Problem::invalid("quantity", why));
        }
        let currencies: Vec<String> = offer.amounts.keys().cloned().collect();
        if let Some(currency) = &self.currency
            && !currencies.contains(currency)
        {
            return Err(Problem::invalid(
                "currency",
                format!("this is sold in {}", currencies.join(", ")),
            ));
        }
        let purchase = Purchase {
            key: offer.item.key().to_owned(),
            kind,
            price_id: price_id.clone(),
            recurring,
            quantity,
            seats: seats.map(|seats| (seats.minimum, seats.maximum)),
            currency: self
                .currency
                .clone()
                .unwrap_or_else(|| catalog.definition.currency.clone()),
            success_url: allowed(self.success_url, "success_url", "checkout=success", urls)?,
            cancel_url: allowed(self.cancel_url, "cancel_url", "checkout=canceled", urls)?,
            trial_days,
            promotion_codes: catalog.definition.promotion_codes,
            automatic_tax: catalog.definition.automatic_tax,
        };
        Ok(Wanted {
            purchase,
            currency: self.currency,
            currencies,
        })
    }

    fn offer<'c>(&self, catalog: &'c Catalog) -> Result<(Offer<'c>, &'c PriceId), Problem> {
        if self.interval.is_some() && self.plan.is_none() {
            return Err(Problem::invalid("interval", "an interval goes with a plan"));
        }
        match (&self.plan, &self.pack, &self.price_id) {
            (Some(plan), None, None) => self.plan_offer(plan, catalog),
            (None, Some(pack), None) => catalog.pack(pack).ok_or_else(|| {
                let known: Vec<&str> = catalog
                    .definition
                    .packs
                    .iter()
                    .map(|pack| pack.key.as_str())
                    .collect();
                Problem::invalid(
                    "pack",
                    format!("there is no such pack; there are: {}", known.join(", ")),
                )
            }),
            (None, None, Some(price_id)) => catalog.by_current_price(price_id).ok_or_else(|| {
                Problem::invalid("price_id", "the catalogue does not sell this price")
            }),
            _ => Err(Problem::invalid(
                "body",
                "name exactly one of plan, pack and price_id",
            )),
        }
    }

    fn plan_offer<'c>(
        &self,
        key: &str,
        catalog: &'c Catalog,
    ) -> Result<(Offer<'c>, &'c PriceId), Problem> {
        let Some(plan) = catalog.definition.plans.iter().find(|plan| plan.key == key) else {
            let known: Vec<&str> = catalog
                .definition
                .plans
                .iter()
                .map(|plan| plan.key.as_str())
                .collect();
            return Err(Problem::invalid(
                "plan",
                format!("there is no such plan; there are: {}", known.join(", ")),
            ));
        };
        let interval = match self.interval {
            Some(interval) => interval,
            None => plan
                .prices
                .keys()
                .next()
                .copied()
                .unwrap_or(Interval::Month),
        };
        catalog.plan(key, interval).ok_or_else(|| {
            let known: Vec<&str> = plan
                .prices
                .keys()
                .map(|interval| interval.as_str())
                .collect();
            Problem::invalid(
                "interval",
                format!("this plan is sold by the {}", known.join(" and the ")),
            )
        })
    }
}

fn allowed(
    url: Option<String>,
    field: &str,
    marker: &str,
    urls: &AllowedUrls,
) -> Result<String, Problem> {
    match url {
        None => Ok(urls.default_url(marker)),
        Some(url) if urls.allows(&url) => Ok(url),
        Some(_) => Err(Problem::invalid(
            field,
            "this address is not on the allowlist (ALLOWED_URLS)",
        )),
    }
}
