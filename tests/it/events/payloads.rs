//! `events/stripe/<API version>/<type>.json`: what Stripe sends, for every type that Tollgate acts on and in
//! the shape of every version that it has had since 2020-08-27.
//!
//! The sandbox gives them out, in one run that makes each of them happen; Stripe's own document judges the
//! sandbox in CI.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use shared::event::{Acted, Content, Envelope, Event};

use super::stable::Stable;
use super::{START, path, read, write_if_asked};
use crate::harness::{DAY, FAILS_LATER_CARD, GOOD_CARD, World};

/// One for each time that something which is read moved, and the newest; it comes last.
const VERSIONS: [&str; 7] = [
    "2020-08-27",
    "2022-11-15",
    "2024-06-20",
    "2025-03-31.basil",
    "2025-09-30.clover",
    "2026-03-25.dahlia",
    "2026-08-26.dahlia",
];

/// All that are acted on.
const TYPES: [&str; 27] = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "customer.subscription.created",
    "customer.subscription.updated",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "invoice.paid",
    "invoice.payment_succeeded",
    "invoice.payment_failed",
    "invoice.payment_action_required",
    "invoice.finalized",
    "invoice.voided",
    "invoice.marked_uncollectible",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_method.attached",
    "payment_method.detached",
    "payment_method.updated",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.closed",
    "customer.updated",
    "customer.deleted",
];

const ALWAYS_ASKS_CARD: &str = "4000002760003184";
const DISPUTED_CARD: &str = "4000000000000259";
const DEBIT_THAT_PAYS: &str = "AT611904300234573201";
const DEBIT_THAT_FAILS: &str = "AT861904300235473202";

fn file(version: &str, event_type: &str) -> String {
    format!("stripe/{version}/{event_type}.json")
}

/// A charge names the invoice that it paid until 2025-03-31.basil; since then Stripe is asked for it.
fn without_invoice_of_charge(mut acted: Acted) -> Acted {
    if let Event::Refund(charge) = &mut acted.event {
        charge.invoice_id = None;
    }
    acted
}

#[test]
fn f15_every_payload_is_understood_and_says_the_same_in_every_version() {
    for event_type in TYPES {
        let parse = |version| {
            let envelope = Envelope::parse(read(&file(version, event_type)).as_bytes()).unwrap();
            assert_eq!(envelope.r#type, event_type);
            assert_eq!(envelope.api_version.as_deref(), Some(version));
            assert!(!envelope.livemode && !envelope.connected_account);
            match envelope.content {
                Content::Acted(acted) => without_invoice_of_charge(acted),
                other => panic!("{event_type} at {version}: {other:?}"),
            }
        };
        let newest = parse(VERSIONS[VERSIONS.len() - 1]);
        for version in VERSIONS {
            assert_eq!(parse(version), newest, "{event_type} at {version}");
        }
    }
}

#[test]
fn what_a_checkout_leads_to_names_its_user() {
    for event_type in [
        "checkout.session.completed",
        "customer.subscription.updated",
        "invoice.paid",
    ] {
        for version in VERSIONS {
            let envelope = Envelope::parse(read(&file(version, event_type)).as_bytes()).unwrap();
            let Content::Acted(acted) = envelope.content else {
                panic!("{event_type} at {version}");
            };
            assert_eq!(
                acted.user_hint,
                Some("alice".into()),
                "{event_type} at {version}"
            );
        }
    }
}

#[test]
fn there_is_a_payload_of_each_type_in_each_version_and_nothing_else() {
    for version in VERSIONS {
        let found = std::fs::read_dir(path(&format!("stripe/{version}"))).unwrap();
        let found: BTreeSet<String> = found
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        let expected = TYPES.map(|event_type| format!("{event_type}.json"));
        assert_eq!(found, expected.into(), "{version}");
    }
}

pub(super) async fn write_or_compare() {
    let world = World::start().await;
    live(&world).await;
    let payloads = delivered_in_every_version(&world).await;
    let first = &payloads[&("2026-08-26.dahlia", "checkout.session.completed".to_owned())];
    let addresses = world.stack.addresses();
    let mut stable = Stable::new(
        first["created"].as_i64().unwrap(),
        START,
        vec![
            (addresses.sandbox.clone().unwrap(), "http://localhost:12111"),
            (addresses.gateway.clone(), "http://localhost:3000"),
        ],
    );
    for event_type in TYPES {
        let newest_first = VERSIONS.into_iter().rev();
        let files: Vec<(String, Value)> = newest_first
            .map(|version| {
                let payload = payloads[&(version, event_type.to_owned())].clone();
                (file(version, event_type), stable.value(payload))
            })
            .collect();
        let differs = |(file, payload): &&(String, Value)| {
            kept(file).as_ref().map(shape) != Some(shape(payload))
        };
        let Some((differing, _)) = files.iter().find(differs) else {
            continue;
        };
        // All versions of a payload are of one run, so that they say the same.
        for (file, payload) in &files {
            assert!(
                write_if_asked(file, &format!("{payload:#}")),
                "{differing} has another shape: see the head of events.rs"
            );
        }
    }
}

/// The payload of a file, if it is there.
fn kept(file: &str) -> Option<Value> {
    let text = std::fs::read_to_string(path(file)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Every member's path with its kind of value; the members of a list are taken together.
fn shape(value: &Value) -> BTreeSet<String> {
    fn visit(value: &Value, path: &str, shape: &mut BTreeSet<String>) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(values) => {
                for value in values {
                    visit(value, &format!("{path}[]"), shape);
                }
                "array"
            }
            Value::Object(members) => {
                for (name, value) in members {
                    visit(value, &format!("{path}.{name}"), shape);
                }
                "object"
            }
        };
        shape.insert(format!("{path} {kind}"));
    }
    let mut found = BTreeSet::new();
    visit(value, "", &mut found);
    found
}

/// Lets everything happen that the files speak of.
async fn live(world: &World) {
    pay_fail_and_be_refunded(world).await;
    pay_once(world).await;
    let opened = world.checkout("frank", &json!({"plan": "starter"})).await;
    let session = opened.body["session_id"].as_str().unwrap();
    world
        .control(&format!("checkout/sessions/{session}/expire"), &json!({}))
        .await;
    world.subscribe("gina", "pro").await;
    world.advance(12 * DAY).await;
    pause_and_resume(world);
    world.settle().await;
}

/// One request to the sandbox, in process.
fn stripe(world: &World, method: &str, path: &str, parameters: Value) -> Value {
    let sandbox = world.stack.sandbox().unwrap();
    let answer = sandbox.world().call(method, path, &parameters);
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error:?}"))
}

/// The newest object of a list.
fn newest(world: &World, path: &str, parameters: Value) -> Value {
    stripe(world, "GET", path, parameters)["data"][0].take()
}

fn id(object: &Value) -> &str {
    object["id"].as_str().unwrap()
}

async fn pay_fail_and_be_refunded(world: &World) {
    let me = world.subscribe("alice", "starter").await;
    let customer = me["stripe_customer_id"].as_str().unwrap();
    let card = |card: &'static str| async move {
        world
            .control(
                &format!("customers/{customer}/default-card"),
                &json!({"card": card}),
            )
            .await;
    };
    let charge = newest(world, "/v1/charges", json!({"customer": customer}));
    stripe(
        world,
        "POST",
        "/v1/refunds",
        json!({"charge": id(&charge), "amount": 400}),
    );

    let first_card = newest(world, "/v1/payment_methods", json!({"customer": customer}));
    let path = format!("/v1/payment_methods/{}", id(&first_card));
    stripe(
        world,
        "POST",
        &path,
        json!({"billing_details": {"name": "Alice Example"}}),
    );

    card(ALWAYS_ASKS_CARD).await;
    world.advance(32 * DAY).await;
    card(FAILS_LATER_CARD).await;
    world.advance(31 * DAY).await;
    let open = json!({"customer": customer, "status": "open"});
    let path = format!("/v1/invoices/{}", id(&newest(world, "/v1/invoices", open)));
    stripe(
        world,
        "POST",
        &format!("{path}/mark_uncollectible"),
        json!({}),
    );
    stripe(world, "POST", &format!("{path}/void"), json!({}));
    stripe(
        world,
        "POST",
        &format!("/v1/payment_methods/{}/detach", id(&first_card)),
        json!({}),
    );

    let of_customer = json!({"customer": customer, "status": "all"});
    let subscription = newest(world, "/v1/subscriptions", of_customer);
    if subscription["status"] != "canceled" {
        stripe(
            world,
            "DELETE",
            &format!("/v1/subscriptions/{}", id(&subscription)),
            json!({}),
        );
    }
    stripe(
        world,
        "DELETE",
        &format!("/v1/customers/{customer}"),
        json!({}),
    );
}

/// Token packs: a payment that is disputed, and debits that succeed and fail later.
async fn pay_once(world: &World) {
    for (user, card) in [
        ("carol", DISPUTED_CARD),
        ("dave", DEBIT_THAT_PAYS),
        ("erin", DEBIT_THAT_FAILS),
    ] {
        let opened = world.checkout(user, &json!({"pack": "tokens_1000"})).await;
        let paid = world
            .pay(opened.body["session_id"].as_str().unwrap(), card)
            .await;
        assert_eq!(paid.status, 200, "{paid:?}");
    }
    let dispute = newest(world, "/v1/disputes", json!({}));
    let closed = world
        .control(
            &format!("disputes/{}/close", id(&dispute)),
            &json!({"won": false}),
        )
        .await;
    assert_eq!(closed.status, 200, "{closed:?}");
    world.advance(60).await;
}

/// A trial that ends without a card, as only a subscription that was not made by Checkout can.
fn pause_and_resume(world: &World) {
    let prices = json!({"lookup_keys": ["tollgate_starter_month"]});
    let price = newest(world, "/v1/prices", prices);
    let customer = stripe(world, "POST", "/v1/customers", json!({}));
    let trial = json!({
        "customer": id(&customer), "items": [{"price": id(&price)}], "trial_period_days": 7,
        "trial_settings": {"end_behavior": {"missing_payment_method": "pause"}},
    });
    let subscription = stripe(world, "POST", "/v1/subscriptions", trial);
    let sandbox = world.stack.sandbox().unwrap();
    sandbox.world().advance(8 * DAY).unwrap();
    let sandbox = world.stack.sandbox().unwrap();
    sandbox
        .world()
        .set_default_card(
            id(&customer),
            &sandbox::CardInput {
                number: GOOD_CARD.to_owned(),
                ..Default::default()
            },
        )
        .unwrap();
    let path = format!("/v1/subscriptions/{}/resume", id(&subscription));
    stripe(world, "POST", &path, json!({}));
}

type Payloads = BTreeMap<(&'static str, String), Value>;

/// The first event of each type, as endpoints of each version receive it.
async fn delivered_in_every_version(world: &World) -> Payloads {
    let received: Arc<Mutex<Payloads>> = Arc::default();
    let mut router = axum::Router::new();
    for version in VERSIONS {
        let received = Arc::clone(&received);
        let keep = move |axum::Json(event): axum::Json<Value>| async move {
            let event_type = event["type"].as_str().unwrap().to_owned();
            received
                .lock()
                .unwrap()
                .insert((version, event_type), event);
        };
        router = router.route(&format!("/{version}"), axum::routing::post(keep));
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await });

    world.stop_delivery().await;
    let sandbox = world.stack.sandbox().unwrap();
    for version in VERSIONS {
        let endpoint = json!({
            "url": format!("http://{address}/{version}"), "enabled_events": ["*"], "api_version": version,
        });
        stripe(world, "POST", "/v1/webhook_endpoints", endpoint);
    }
    let mut events = BTreeMap::new();
    for (_, event) in sandbox.world().events_after(0) {
        let event_type = event["type"].as_str().unwrap().to_owned();
        events
            .entry(event_type)
            .or_insert_with(|| id(&event).to_owned());
    }
    for event_type in TYPES {
        let event = events
            .get(event_type)
            .unwrap_or_else(|| panic!("no {event_type} happened"));
        let answer = world.control("deliver", &json!({"event": event})).await;
        assert_eq!(
            (answer.status, &answer.body["receivers"]),
            (200, &json!(VERSIONS.len()))
        );
    }
    world.settle().await;
    serving.abort();
    std::mem::take(&mut received.lock().unwrap())
}
