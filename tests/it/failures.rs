//! Faults that users of comparable systems reported, each reproduced: what is not told elsewhere under
//! its number. `tests/FAILURES.md` lists them all.

use futures::future::join_all;
use lambda_http::{Body, Request};
use serde_json::{Value, json};
use shared::http::HttpClient;
use shared::oidc::Authenticator;
use shared::problem::Problem;

use crate::call::webhook;
use crate::faults::{Fault, Faulty, Outage};
use crate::harness::{Attribute, DAY, GOOD_CARD, World, last_of};

async fn subscription_path(world: &World, user: &str) -> (String, String) {
    let me = world.me(user).await;
    let customer = me["stripe_customer_id"].as_str().unwrap().to_owned();
    let path = world.subscription_path(&customer).await;
    (customer, path)
}

async fn outcome(world: &World, event: &Value) -> Option<String> {
    let item = world
        .item(&format!("EVENT#{}", event["id"].as_str().unwrap()), "EVENT")
        .await?;
    Some(item["outcome"].as_s().unwrap().clone())
}

#[tokio::test]
async fn f02_the_second_event_of_one_second_counts_as_well() {
    let world = World::start().await;
    world.subscribe("alice", "starter").await;
    let (customer, path) = subscription_path(&world, "alice").await;
    world.stop_delivery().await;
    for (cancel, ends) in [("true", true), ("false", false), ("true", true)] {
        world
            .stripe_post(&path, &[("cancel_at_period_end", cancel)])
            .await;
        let events = world.events_of(&customer).await;
        let newest = last_of(&events, "customer.subscription.updated");
        assert_eq!(world.deliver(newest).await.body["outcome"], "applied");
        assert_eq!(world.me("alice").await["cancel_at"].is_string(), ends);
    }
}

#[tokio::test]
async fn f03_a_slow_old_fetch_does_not_overwrite_a_newer_one() {
    let world = World::start().await;
    world.subscribe("alice", "starter").await;
    let (customer, path) = subscription_path(&world, "alice").await;
    world.stop_delivery().await;
    world
        .stripe_post(&path, &[("cancel_at_period_end", "true")])
        .await;
    let ending = last_of(
        &world.events_of(&customer).await,
        "customer.subscription.updated",
    )
    .clone();
    // Catalogue, batch, fetch: the answer to the third request says that it ends, and is late.
    let slow = Faulty::new(2, Fault::ReplyHeld);
    let newer = async {
        world
            .stripe_post(&path, &[("cancel_at_period_end", "false")])
            .await;
        let undone = last_of(
            &world.events_of(&customer).await,
            "customer.subscription.updated",
        )
        .clone();
        assert_ne!(undone["id"], ending["id"]);
        // It changes nothing that is known; what is spent meanwhile moves the fence all the same.
        assert_eq!(world.deliver(&undone).await.status, 200);
        let store = shared::store::Store::new(&world.environment(), &HttpClient::new()).unwrap();
        store
            .spend(&"alice".into(), "meanwhile", 1, "meanwhile", world.now())
            .await
            .unwrap();
    };
    let (answered, ()) = tokio::join!(webhook(&world, &ending, slow.client()), slow.hold(newer));
    assert_eq!(answered.unwrap().0, 200);
    assert_eq!(world.me("alice").await["cancel_at"], json!(null));
    world.assert_equals_stripe("alice").await;
}

#[tokio::test]
async fn f04_a_completed_checkout_and_its_subscription_arrive_at_once() {
    let world = World::start().await;
    let events = world.buy_untold("alice", &json!({"plan": "starter"})).await;
    let pair = [
        last_of(&events, "checkout.session.completed"),
        last_of(&events, "customer.subscription.created"),
    ];
    for answer in join_all(pair.map(|event| world.deliver(event))).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let me = world.me("alice").await;
    assert_eq!(me["access"], "active");
    let table = world.table().await;
    let accounts = table.keys().filter(|(_, sk)| sk == "ACCOUNT").count();
    let mappings = table
        .keys()
        .filter(|(pk, sk)| pk.starts_with("CUSTOMER#") && sk == "USER")
        .count();
    assert_eq!((accounts, mappings), (1, 1));
}

#[tokio::test]
async fn f06_without_its_effect_an_event_is_not_marked_as_done() {
    let world = World::without_schedule().await;
    let events = world
        .buy_untold("alice", &json!({"pack": "tokens_1000"}))
        .await;
    let completed = last_of(&events, "checkout.session.completed");
    let outage = Outage::of("TransactWriteItems");
    outage.switch(true);
    let answered = webhook(&world, completed, outage.client()).await.unwrap();
    assert!(outage.seen() > 0);
    assert_eq!(
        (answered.0, &answered.1["outcome"]),
        (200, &json!("pending")),
        "kept, not done"
    );
    assert_eq!(world.me("alice").await["tokens"]["balance"], 0);
    let again = world.deliver(completed).await;
    assert_eq!(
        again.body["outcome"], "applied",
        "the retry is no duplicate"
    );
    assert_eq!(world.me("alice").await["tokens"]["balance"], 1_000);
}

#[tokio::test]
async fn f05_with_the_table_out_of_reach_stripe_is_told_to_retry() {
    let world = World::start().await;
    let event = json!({
        "id": "evt_1", "object": "event", "type": "charge.updated", "created": world.now().as_second(),
        "livemode": false, "data": {"object": {"id": "ch_1"}},
    });
    let outage = Outage::of("DynamoDB");
    outage.switch(true);
    let (status, body) = webhook(&world, &event, outage.client()).await.unwrap();
    assert_eq!((status, &body["code"]), (503, &json!("try_again")));
    assert_eq!(outcome(&world, &event).await, None);
}

#[tokio::test]
async fn f05_what_was_tried_often_enough_is_parked_for_a_person() {
    let world = World::without_schedule().await;
    let events = world.buy_untold("alice", &json!({"plan": "starter"})).await;
    let event = last_of(&events, "customer.subscription.created");
    let outage = Outage::of("/v1/subscriptions");
    outage.switch(true);
    let (_, body) = webhook(&world, event, outage.client()).await.unwrap();
    assert_eq!(body["outcome"], "pending");
    // Nineteen attempts take half a day; this one is the twentieth.
    let attempts = ("attempts", Attribute::N("19".to_owned()));
    let pk = format!("EVENT#{}", event["id"].as_str().unwrap());
    world.set(&pk, "EVENT", attempts).await;
    let state = reconcile::State::new(&world.environment(), outage.client()).unwrap();
    let due = world.now() + jiff::SignedDuration::from_hours(1);
    let report = reconcile::handle(&state, "twentieth", due).await.unwrap();
    assert_eq!((report.done, report.pending, report.parked), (0, 0, 1));
    assert_eq!(outcome(&world, event).await.as_deref(), Some("parked"));
    let later = world.now() + jiff::SignedDuration::from_hours(48);
    let report = reconcile::handle(&state, "later", later).await.unwrap();
    assert_eq!(
        report,
        reconcile::Report::default(),
        "nobody but a person tries it again"
    );
    assert_eq!(
        world.deliver(event).await.body["outcome"],
        "applied",
        "or Stripe, when asked to resend"
    );
}

#[tokio::test]
async fn f07_a_duplicate_is_known_to_a_process_that_never_saw_the_event() {
    let world = World::start().await;
    let event = json!({
        "id": "evt_1", "object": "event", "type": "charge.updated", "created": world.now().as_second(),
        "livemode": false, "data": {"object": {"id": "ch_1"}},
    });
    let mut outcomes = Vec::new();
    for _ in 0..3 {
        let (_, body) = webhook(&world, &event, HttpClient::new()).await.unwrap();
        outcomes.push(body["outcome"].as_str().unwrap().to_owned());
    }
    assert_eq!(outcomes, ["ignored", "duplicate", "duplicate"]);
}

#[tokio::test]
async fn f35_an_event_resent_after_thirty_days_is_a_duplicate() {
    let world = World::start().await;
    let opened = world
        .checkout("alice", &json!({"pack": "tokens_1000"}))
        .await;
    world
        .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
        .await;
    world.settle().await;
    let customer = world.me("alice").await["stripe_customer_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let events = world.events_of(&customer).await;
    let completed = last_of(&events, "checkout.session.completed");
    let id = completed["id"].as_str().unwrap();
    let marker = world.item(&format!("EVENT#{id}"), "EVENT").await.unwrap();
    let expires_at: i64 = marker["expires_at"].as_n().unwrap().parse().unwrap();
    assert!(
        expires_at >= completed["created"].as_i64().unwrap() + 33 * DAY,
        "30 days and 3 of retries"
    );
    world.advance(33 * DAY).await;
    assert_eq!(world.deliver(completed).await.body["outcome"], "duplicate");
    assert_eq!(world.me("alice").await["tokens"]["balance"], 1_000);
}

#[tokio::test]
async fn f38_a_storm_of_unknown_keys_and_an_outage_of_the_issuer_lock_nobody_out() {
    let world = World::start().await;
    let issuer = Outage::of(&world.variable("OIDC_ISSUERS"));
    let authenticator = Authenticator::new(&world.environment(), &issuer.client()).unwrap();
    let request = |token: &str| {
        let mut request = Request::new(Body::Empty);
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
        request
    };
    let good = world.token("alice");
    let now = world.now();
    assert!(
        authenticator
            .authenticate(&request(&good), now)
            .await
            .is_ok()
    );
    assert_eq!(issuer.seen(), 2, "discovery and keys");

    let claims = json!({"iss": world.variable("OIDC_ISSUERS"), "sub": "eve", "aud": "tollgate", "exp": 9_999_999_999_i64});
    for number in 0..200 {
        let header = json!({"alg": "RS256", "kid": format!("made-up-{number}")});
        let made_up = world.stack.issuer().sign(&header, &claims).unwrap();
        let refused = authenticator.authenticate(&request(&made_up), now).await;
        assert_eq!(refused.err(), Some(Problem::Unauthenticated));
    }
    assert!(
        issuer.seen() <= 4,
        "{} requests for 200 tokens",
        issuer.seen()
    );

    issuer.switch(true);
    let hours = |hours: i64| {
        now.saturating_add(jiff::SignedDuration::from_hours(hours))
            .unwrap()
    };
    assert!(
        authenticator
            .authenticate(&request(&good), hours(71))
            .await
            .is_ok(),
        "the last good keys"
    );
    let after = authenticator.authenticate(&request(&good), hours(73)).await;
    assert_eq!(after.err(), Some(Problem::TryAgain), "for a bounded time");
    issuer.switch(false);
    assert!(
        authenticator
            .authenticate(&request(&good), hours(74))
            .await
            .is_ok(),
        "and it recovers"
    );
}
