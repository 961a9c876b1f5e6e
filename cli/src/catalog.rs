//! `tollgate catalog sync`: makes Stripe's products and prices what `catalog.toml` says, and writes the
//! `CATALOG` item.
//!
//! Creates and updates by lookup key; never deletes. The difference is worked out first and can be shown
//! without being made.

pub mod command;

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use shared::catalog::{Catalog, Definition, Item, Offer, StripePrices};
use shared::config::{self, Environment};
use shared::http::HttpClient;
use shared::ids::PriceId;
use shared::secrets::{STRIPE_SECRET_KEY, Secrets};
use shared::store::{self, Store};
use shared::stripe::{self, Call, Price, Product, Stripe};

/// What keeps a catalogue from being synced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable is missing or not usable.
    #[error(transparent)]
    Configuration(#[from] config::Error),
    /// Stripe refused or did not answer.
    #[error(transparent)]
    Stripe(#[from] stripe::Error),
    /// The table could not be used.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// One thing that a sync does at Stripe.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A product that is not there.
    CreateProduct(Product),
    /// A product whose name or description differs, or that is archived.
    UpdateProduct(Product),
    /// A price that is not there, or whose amounts differ from the one that is.
    CreatePrice {
        /// Its lookup key.
        lookup_key: String,
        /// The one that loses the lookup key; its subscribers keep paying it.
        replaces: Option<PriceId>,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateProduct(product) => {
                write!(f, "+ product {} ({})", product.id, product.name)
            }
            Self::UpdateProduct(product) => {
                write!(f, "~ product {} ({})", product.id, product.name)
            }
            Self::CreatePrice {
                lookup_key,
                replaces: None,
            } => write!(f, "+ price {lookup_key}"),
            Self::CreatePrice {
                lookup_key,
                replaces: Some(former),
            } => {
                write!(
                    f,
                    "+ price {lookup_key} (its amounts changed; {former} stays for its subscribers)"
                )
            }
        }
    }
}

/// Stripe and the table, as the environment names them.
pub struct Sync {
    stripe: Stripe,
    secrets: Secrets,
    store: Store,
}

/// What a sync will do, worked out from what Stripe has now.
pub struct Plan {
    actions: Vec<Action>,
    found: BTreeMap<String, PriceId>,
}

impl Plan {
    /// What will be done at Stripe, in this order; nothing when Stripe is as the file says.
    pub fn actions(&self) -> &[Action] {
        &self.actions
    }
}

impl Sync {
    /// Connects to what the environment names.
    ///
    /// # Errors
    /// When a variable is missing or not usable.
    pub fn new(environment: &Environment, http: &HttpClient) -> Result<Self, Error> {
        Ok(Self {
            stripe: Stripe::new(environment, http)?,
            secrets: Secrets::new(environment, http, &[STRIPE_SECRET_KEY])?,
            store: Store::new(environment, http)?,
        })
    }

    /// Works out the difference between the file and Stripe.
    ///
    /// # Errors
    /// When Stripe refuses or does not answer.
    pub async fn plan(&self, definition: &Definition, now: Timestamp) -> Result<Plan, Error> {
        let call = Call {
            secrets: &self.secrets,
            now,
        };
        let mut actions = Vec::new();
        for wanted in products(definition) {
            match self.stripe.product(call, &wanted.id).await? {
                None => actions.push(Action::CreateProduct(wanted)),
                Some(found) if found != wanted => actions.push(Action::UpdateProduct(wanted)),
                Some(_) => {}
            }
        }
        let keys: Vec<String> = definition.offers().map(|offer| offer.lookup_key).collect();
        let prices = self.stripe.prices(call, &keys).await?;
        let mut found = BTreeMap::new();
        for offer in definition.offers() {
            let price = prices
                .iter()
                .find(|price| price.lookup_key == offer.lookup_key);
            match price {
                Some(price) if is_as_offered(price, &offer, definition) => {
                    found.insert(offer.lookup_key, price.id.clone());
                }
                other => actions.push(Action::CreatePrice {
                    lookup_key: offer.lookup_key,
                    replaces: other.map(|price| price.id.clone()),
                }),
            }
        }
        Ok(Plan { actions, found })
    }

    /// Carries out a plan and writes the catalogue. Safe to repeat, also after being stopped half-way.
    ///
    /// # Errors
    /// When Stripe refuses, or the table cannot be written.
    pub async fn apply(
        &self,
        definition: &Definition,
        plan: Plan,
        now: Timestamp,
    ) -> Result<Catalog, Error> {
        let call = Call {
            secrets: &self.secrets,
            now,
        };
        let mut current = plan.found;
        let mut replaced: BTreeMap<String, PriceId> = BTreeMap::new();
        for action in &plan.actions {
            match action {
                Action::CreateProduct(product) => self.stripe.create_product(call, product).await?,
                Action::UpdateProduct(product) => self.stripe.update_product(call, product).await?,
                Action::CreatePrice {
                    lookup_key,
                    replaces,
                } => {
                    let Some(offer) = definition
                        .offers()
                        .find(|offer| offer.lookup_key == *lookup_key)
                    else {
                        continue;
                    };
                    let product = product_id(offer.item);
                    let replaces = replaces.as_ref();
                    let id = self
                        .stripe
                        .create_price(call, &offer, &product, &definition.currency, replaces)
                        .await?;
                    current.insert(lookup_key.clone(), id);
                    replaced.extend(replaces.map(|former| (lookup_key.clone(), former.clone())));
                }
            }
        }
        let known = self
            .store
            .synced_catalog()
            .await?
            .map(|catalog| catalog.prices)
            .unwrap_or_default();
        let catalog = Catalog {
            definition: definition.clone(),
            prices: merged(known, current, &replaced),
        };
        self.store.put_catalog(&catalog).await?;
        Ok(catalog)
    }
}

/// Every price that an entry ever had stays known, so that its subscribers keep their plan.
fn merged(
    known: BTreeMap<String, StripePrices>,
    current: BTreeMap<String, PriceId>,
    replaced: &BTreeMap<String, PriceId>,
) -> BTreeMap<String, StripePrices> {
    let mut prices = known;
    for (lookup_key, id) in current {
        let before = prices.remove(&lookup_key);
        let mut former: Vec<PriceId> = before
            .into_iter()
            .flat_map(|prices| prices.former.into_iter().chain([prices.current]))
            .collect();
        former.extend(replaced.get(&lookup_key).cloned());
        former.retain(|price| *price != id);
        former.sort_unstable();
        former.dedup();
        prices.insert(
            lookup_key,
            StripePrices {
                current: id,
                former,
            },
        );
    }
    prices
}

fn products(definition: &Definition) -> Vec<Product> {
    let mut products: Vec<Product> = definition
        .offers()
        .map(|offer| Product {
            id: product_id(offer.item),
            name: offer.item.name().to_owned(),
            description: match offer.item {
                Item::Plan(plan, _) => plan.description.clone(),
                Item::Pack(_) => None,
            },
            active: true,
        })
        .collect();
    products.dedup_by(|one, other| one.id == other.id);
    products
}

fn product_id(item: Item<'_>) -> String {
    format!("tollgate_{}", item.key())
}

fn is_as_offered(price: &Price, offer: &Offer<'_>, definition: &Definition) -> bool {
    price.amounts == *offer.amounts
        && price.currency == definition.currency
        && price.interval == offer.item.interval()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_price_stays_known() {
        let known = BTreeMap::from([(
            "tollgate_pro_month".to_owned(),
            StripePrices {
                current: "price_1".into(),
                former: vec!["price_0".into()],
            },
        )]);
        let current = BTreeMap::from([("tollgate_pro_month".to_owned(), PriceId::from("price_2"))]);
        let replaced =
            BTreeMap::from([("tollgate_pro_month".to_owned(), PriceId::from("price_1"))]);
        let prices = merged(known.clone(), current, &replaced);
        let pro = &prices["tollgate_pro_month"];
        assert_eq!(pro.current.as_str(), "price_2");
        assert_eq!(pro.former, ["price_0".into(), "price_1".into()]);
        assert_eq!(
            merged(known.clone(), BTreeMap::new(), &BTreeMap::new()),
            known,
            "nothing is forgotten"
        );
    }

    #[test]
    fn each_product_is_listed_once() {
        let definition = Definition::parse(include_str!("../../catalog.toml")).unwrap();
        let ids: Vec<String> = products(&definition)
            .into_iter()
            .map(|product| product.id)
            .collect();
        assert_eq!(
            ids,
            [
                "tollgate_starter",
                "tollgate_pro",
                "tollgate_tokens_1000",
                "tollgate_tokens_monthly"
            ]
        );
    }
}
