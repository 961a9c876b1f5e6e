//! What one event costs in CPU time before any I/O: verifying its signature, reading it, deciding it.
//! `.ci/bench_bounds` holds the results to their bounds.
#![expect(
    clippy::unwrap_used,
    reason = "a bench that cannot be set up is to stop"
)]

use std::hint::black_box;

use criterion::Criterion;
use jiff::Timestamp;
use serde_json::Value;
use shared::account::Account;
use shared::catalog::{Catalog, Definition, StripePrices};
use shared::decide::{Decision, Fetched, Known, Record, decide, sale_of};
use shared::event::{Acted, Content, Envelope};
use shared::signature::{SigningSecret, sign, verify};
use shared::subscription::StripeSubscription;

const SUBSCRIPTION_UPDATED: &str =
    include_str!("../../events/stripe/2026-08-26.dahlia/customer.subscription.updated.json");
const INVOICE_PAID: &str = include_str!("../../events/stripe/2026-08-26.dahlia/invoice.paid.json");

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    verifying(&mut criterion);
    for (name, body) in [
        ("customer_subscription_updated", SUBSCRIPTION_UPDATED),
        ("invoice_paid", INVOICE_PAID),
    ] {
        parsing_and_deciding(&mut criterion, name, body);
    }
    criterion.final_summary();
}

fn verifying(criterion: &mut Criterion) {
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    let secrets = [SigningSecret::new("whsec_of_the_bench").unwrap()];
    let body = SUBSCRIPTION_UPDATED
        .bytes()
        .cycle()
        .take(8 << 10)
        .collect::<Vec<u8>>();
    let [secret] = &secrets;
    let header = sign(&body, secret, now);
    criterion.bench_function("verify_8_kb", |bencher| {
        bencher.iter(|| {
            let header = Some(black_box(header.as_bytes()));
            verify(header, black_box(&body), &secrets, now).unwrap();
        });
    });
}

/// Nothing but the customer is known yet, so that the event changes account and record: the longest way.
fn parsing_and_deciding(criterion: &mut Criterion, name: &str, body: &str) {
    let mut account = Account::new("alice".into());
    account.customer_id = acted(body).customer_id;
    let known = Known {
        account,
        record: Record::None,
    };
    let (catalog, fetched) = (catalog(), fetched());
    criterion.bench_function(&format!("parse_and_decide_{name}"), |bencher| {
        bencher.iter(|| {
            let acted = acted(black_box(body));
            let mut known = known.clone();
            if let Some(id) = sale_of(&acted.event, None) {
                known.record = Record::Sale(id, Box::default());
            }
            let customer_id = acted.customer_id.as_ref().unwrap();
            let fetched = Some(fetched.clone());
            let decision = decide(&known, customer_id, &acted.event, None, fetched, &catalog);
            assert!(matches!(decision, Decision::Change(_)));
            decision
        });
    });
}

fn acted(body: &str) -> Acted {
    match Envelope::parse(body.as_bytes()).unwrap().content {
        Content::Acted(acted) => acted,
        other @ (Content::Other | Content::Thin(_) | Content::NotUnderstood(_)) => {
            panic!("{other:?}")
        }
    }
}

/// The catalogue that ships, with the price that the events speak of.
fn catalog() -> Catalog {
    let definition = Definition::parse(include_str!("../../catalog.toml")).unwrap();
    let event: Value = serde_json::from_str(SUBSCRIPTION_UPDATED).unwrap();
    let price_id = event.pointer("/data/object/items/data/0/price/id").unwrap();
    let prices = StripePrices {
        current: price_id.as_str().unwrap().into(),
        former: Vec::new(),
    };
    Catalog {
        definition,
        prices: [("tollgate_pro_month".to_owned(), prices)].into(),
    }
}

fn fetched() -> Fetched {
    let event: Value = serde_json::from_str(SUBSCRIPTION_UPDATED).unwrap();
    let object = event.pointer("/data/object").unwrap().clone();
    let subscription: StripeSubscription = serde_json::from_value(object).unwrap();
    Fetched {
        at: Timestamp::from_second(1_799_142_700).unwrap(),
        subscriptions: vec![subscription.into_kept().unwrap()],
    }
}
