//! The calls behind `tollgate catalog sync`: products by an id of our own, prices by lookup key.
//!
//! Nothing here deletes. <https://docs.stripe.com/api/products>, <https://docs.stripe.com/api/prices>

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use stripe_client_core::StripeRequest;
use stripe_product::price::{
    CreatePrice, CreatePriceCurrencyOptions, CreatePriceRecurring, CreatePriceRecurringInterval,
    ListPrice,
};
use stripe_product::product::{CreateProduct, RetrieveProduct, UpdateProduct};

use super::{Call, Error, List, PAGE_SIZE, Stripe, WithId, currency, idempotency_key};
use crate::catalog::{Amounts, Interval, Offer};
use crate::ids::PriceId;

/// A product at Stripe, as far as the catalogue sets it.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Product {
    /// An id of our own choice: `tollgate_` and the catalogue's key.
    pub id: String,
    /// Shown name.
    pub name: String,
    /// Shown sentence.
    pub description: Option<String>,
    /// Whether it can be bought.
    pub active: bool,
}

/// A price at Stripe, as far as the catalogue sets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// `price_…`
    pub id: PriceId,
    /// What the catalogue finds it by.
    pub lookup_key: String,
    /// Amounts by currency, the price's own among them.
    pub amounts: Amounts,
    /// The currency that the price itself is in.
    pub currency: String,
    /// How often it is paid; a one-time price has none.
    pub interval: Option<Interval>,
}

#[derive(Deserialize)]
struct StripePrice {
    id: PriceId,
    lookup_key: Option<String>,
    currency: String,
    #[serde(default)]
    currency_options: BTreeMap<String, CurrencyOption>,
    unit_amount: Option<i64>,
    recurring: Option<Recurring>,
}

#[derive(Deserialize)]
struct CurrencyOption {
    unit_amount: Option<i64>,
}

#[derive(Deserialize)]
struct Recurring {
    interval: String,
    interval_count: u64,
}

impl StripePrice {
    fn into_price(self) -> Option<Price> {
        let interval = match &self.recurring {
            None => None,
            Some(each) if each.interval == "month" && each.interval_count == 1 => {
                Some(Interval::Month)
            }
            Some(each) if each.interval == "year" && each.interval_count == 1 => {
                Some(Interval::Year)
            }
            Some(_) => return None,
        };
        let mut amounts: Amounts = self
            .currency_options
            .iter()
            .filter_map(|(code, option)| Some((code.clone(), option.unit_amount?)))
            .collect();
        amounts.insert(self.currency.clone(), self.unit_amount?);
        Some(Price {
            id: self.id,
            lookup_key: self.lookup_key?,
            amounts,
            currency: self.currency,
            interval,
        })
    }
}

impl Stripe {
    /// The product of that id, if Stripe has it.
    pub async fn product(&self, call: Call<'_>, id: &str) -> Result<Option<Product>, Error> {
        match self
            .send(call, RetrieveProduct::new(id).build(), None)
            .await
        {
            Ok(product) => Ok(Some(product)),
            Err(error) if error.is_missing("id") => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Creates a product under its id.
    pub async fn create_product(&self, call: Call<'_>, product: &Product) -> Result<(), Error> {
        let mut request = CreateProduct::new(&product.name).id(&product.id);
        if let Some(description) = &product.description {
            request = request.description(description);
        }
        let _: WithId = self.send(call, request.build(), None).await?;
        Ok(())
    }

    /// Gives a product the catalogue's name and description, and makes it buyable.
    pub async fn update_product(&self, call: Call<'_>, product: &Product) -> Result<(), Error> {
        let description = product.description.as_deref().unwrap_or_default();
        let request = UpdateProduct::new(product.id.as_str())
            .name(&product.name)
            .description(description)
            .active(true);
        let _: WithId = self.send(call, request.build(), None).await?;
        Ok(())
    }

    /// The active price of each lookup key that has one.
    pub async fn prices(
        &self,
        call: Call<'_>,
        lookup_keys: &[String],
    ) -> Result<Vec<Price>, Error> {
        let mut prices = Vec::new();
        // Stripe takes at most ten lookup keys at once.
        for keys in lookup_keys.chunks(10) {
            let request = ListPrice::new()
                .lookup_keys(keys.to_vec())
                .limit(PAGE_SIZE)
                .expand(vec!["data.currency_options".to_owned()]);
            let page: List<StripePrice> = self.send(call, request.build(), None).await?;
            prices.extend(page.data.into_iter().filter_map(StripePrice::into_price));
        }
        Ok(prices)
    }

    /// Creates the price of an offer and gives it the offer's lookup key, which a former price loses.
    pub async fn create_price(
        &self,
        call: Call<'_>,
        offer: &Offer<'_>,
        product_id: &str,
        own_currency: &str,
        replaces: Option<&PriceId>,
    ) -> Result<PriceId, Error> {
        let others: HashMap<stripe_types::Currency, CreatePriceCurrencyOptions> = offer
            .amounts
            .iter()
            .filter(|(code, _)| *code != own_currency)
            .map(|(code, amount)| {
                let mut option = CreatePriceCurrencyOptions::new();
                option.unit_amount = Some(*amount);
                (currency(code), option)
            })
            .collect();
        let amount = offer.amounts.get(own_currency).copied().unwrap_or_default();
        let mut request = CreatePrice::new(currency(own_currency))
            .unit_amount(amount)
            .product(product_id)
            .lookup_key(&offer.lookup_key)
            .transfer_lookup_key(true);
        if !others.is_empty() {
            request = request.currency_options(others);
        }
        if let Some(interval) = offer.item.interval() {
            request = request.recurring(CreatePriceRecurring::new(match interval {
                Interval::Month => CreatePriceRecurringInterval::Month,
                Interval::Year => CreatePriceRecurringInterval::Year,
            }));
        }
        let amounts = format!("{:?}", offer.amounts);
        let replaced = replaces.map_or("", PriceId::as_str);
        let key = idempotency_key(&["price", &offer.lookup_key, own_currency, &amounts, replaced]);
        let created: WithId = self.send(call, request.build(), Some(&key)).await?;
        Ok(created.id.into())
    }
}
