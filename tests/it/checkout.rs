//! One user, one customer, one reservation, one live subscription: the promise P5.

use std::collections::BTreeSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{DAY, GOOD_CARD, World};

/// All customers at the sandbox that belong to a user.
async fn customers(world: &World, user: &str) -> Vec<Value> {
    let listed = world.stripe_get("/v1/customers?limit=100").await;
    let all = listed["data"].as_array().unwrap().iter();
    all.filter(|customer| customer["metadata"]["user_id"] == user)
        .cloned()
        .collect()
}

async fn open_sessions(world: &World, customer: &str) -> Vec<Value> {
    let listed = world
        .stripe_get(&format!(
            "/v1/checkout/sessions?customer={customer}&limit=100"
        ))
        .await;
    let all = listed["data"].as_array().unwrap().iter();
    all.filter(|session| session["status"] == "open")
        .cloned()
        .collect()
}

#[tokio::test]
async fn f08_twenty_clicks_at_once_are_one_customer_and_one_session() {
    let world = World::start().await;
    let wanted = json!({"plan": "pro", "interval": "month"});
    let clicks = (0..20)
        .map(|_| world.checkout("alice", &wanted))
        .collect::<Vec<_>>();
    let mut urls = BTreeSet::new();
    for answer in join_all(clicks).await {
        assert_eq!(answer.status, 200, "{answer:?}");
        urls.insert(answer.body["url"].as_str().unwrap().to_owned());
    }
    assert_eq!(urls.len(), 1, "{urls:?}");
    let customers = customers(&world, "alice").await;
    assert_eq!(customers.len(), 1, "f09: one customer");
    assert_eq!(
        open_sessions(&world, customers[0]["id"].as_str().unwrap())
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn f09_one_user_is_one_customer_whatever_their_tokens_say() {
    let world = World::start().await;
    let issuer = world.stack.issuer();
    let now = world.now().as_second();
    let tokens = (0..6).map(|number| {
        let header = json!({"alg": "RS256", "kid": issuer.key_id(), "typ": "at+jwt"});
        let claims = json!({
            "iss": world.variable("OIDC_ISSUERS"), "sub": "alice", "aud": "tollgate", "exp": now + 600,
            "email": format!("alice+{number}@example.com"),
        });
        issuer.sign(&header, &claims).unwrap()
    });
    let tokens: Vec<String> = tokens.collect();
    let body = || Some(br#"{"plan": "starter"}"#.to_vec());
    let path = "/api/billing/checkout-session";
    let clicks = tokens
        .iter()
        .map(|token| world.call(Method::POST, path, Some(token), body()));
    for answer in join_all(clicks).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    assert_eq!(customers(&world, "alice").await.len(), 1);
}

#[tokio::test]
async fn f08_twenty_clicks_for_different_things_leave_one_open_session() {
    let world = World::start().await;
    let plans = ["starter", "pro"].map(|plan| json!({"plan": plan, "interval": "month"}));
    let clicks = (0..20)
        .map(|n| world.checkout("alice", &plans[n % 2]))
        .collect::<Vec<_>>();
    for answer in join_all(clicks).await {
        assert!(matches!(answer.status, 200 | 503), "{answer:?}");
    }
    let customers = customers(&world, "alice").await;
    assert_eq!(customers.len(), 1);
    assert_eq!(
        open_sessions(&world, customers[0]["id"].as_str().unwrap())
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn the_same_purchase_again_is_the_same_session_and_another_one_closes_it() {
    let world = World::start().await;
    let first = world
        .checkout("alice", &json!({"plan": "starter"}))
        .await
        .body;
    let again = world
        .checkout("alice", &json!({"plan": "starter", "interval": "month"}))
        .await
        .body;
    assert_eq!(first, again);
    let other = world.checkout("alice", &json!({"plan": "pro"})).await.body;
    assert_ne!(first["session_id"], other["session_id"]);
    let refused = world
        .pay(first["session_id"].as_str().unwrap(), GOOD_CARD)
        .await;
    assert_ne!(
        refused.status, 200,
        "f30: the first session cannot be paid any more"
    );
}

#[tokio::test]
async fn f08_a_payment_that_no_event_told_of_is_found_before_a_second_checkout() {
    let world = World::start().await;
    let opened = world
        .checkout("alice", &json!({"plan": "starter"}))
        .await
        .body;
    world.stop_delivery().await;
    world
        .pay(opened["session_id"].as_str().unwrap(), GOOD_CARD)
        .await;
    assert_eq!(
        world.me("alice").await["access"],
        "inactive",
        "no event has arrived"
    );
    let second = world.checkout("alice", &json!({"plan": "pro"})).await;
    assert_eq!(
        (second.status, &second.body["code"]),
        (409, &json!("already_subscribed"))
    );
    assert_eq!(
        world.me("alice").await["access"],
        "active",
        "what was found is kept"
    );
}

#[tokio::test]
async fn f08_a_subscription_made_at_stripe_is_found_before_a_checkout() {
    let world = World::start().await;
    let opened = world
        .checkout("alice", &json!({"pack": "tokens_1000"}))
        .await;
    world
        .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
        .await;
    world.settle().await;
    world.stop_delivery().await;
    let customer = customers(&world, "alice").await[0]["id"].clone();
    let customer = customer.as_str().unwrap();
    let plans = world
        .call(Method::GET, "/api/billing/plans", None, None)
        .await;
    let price = plans.body["plans"][0]["prices"][0]["price_id"]
        .as_str()
        .unwrap()
        .to_owned();
    let method = world
        .stripe_get(&format!("/v1/payment_methods?customer={customer}"))
        .await;
    let method = match method["data"][0]["id"].as_str() {
        Some(id) => id.to_owned(),
        None => {
            let attached = [("customer", customer)];
            let path = "/v1/payment_methods/pm_card_visa/attach";
            world.stripe_post(path, &attached).await.body["id"]
                .as_str()
                .unwrap()
                .to_owned()
        }
    };
    let by_hand = [
        ("customer", customer),
        ("items[0][price]", &price),
        ("default_payment_method", &method),
    ];
    let made = world.stripe_post("/v1/subscriptions", &by_hand).await;
    assert_eq!((made.status, &made.body["status"]), (200, &json!("active")));
    let refused = world.checkout("alice", &json!({"plan": "pro"})).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (409, &json!("already_subscribed"))
    );
}

#[tokio::test]
async fn f20_a_customer_deleted_at_stripe_without_a_word_is_replaced() {
    let world = World::start().await;
    let first = world.subscribe("alice", "starter").await["stripe_customer_id"].clone();
    let customer = first.as_str().unwrap();
    let path = world.subscription_path(customer).await;
    world.stripe_delete(&path).await;
    world.settle().await;
    world.stop_delivery().await;
    world
        .stripe_delete(&format!("/v1/customers/{customer}"))
        .await;
    let opened = world.checkout("alice", &json!({"plan": "starter"})).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let second = world.me("alice").await["stripe_customer_id"].clone();
    assert!(second.is_string() && second != first);
}

#[tokio::test]
async fn f27_a_second_trial_is_not_given() {
    let world = World::start().await;
    let me = world.subscribe("alice", "pro").await;
    assert_eq!(me["access"], "trialing");
    let customer = me["stripe_customer_id"].as_str().unwrap();
    let path = world.subscription_path(customer).await;
    world
        .stripe_post(&path, &[("cancel_at_period_end", "true")])
        .await;
    world.advance(15 * DAY).await;
    assert_eq!(world.me("alice").await["access"], "inactive");
    assert_eq!(
        world.subscribe("alice", "pro").await["access"],
        "active",
        "paid at once"
    );
}

#[tokio::test]
async fn f20_a_customer_deleted_at_stripe_is_replaced() {
    let world = World::start().await;
    let first = world.subscribe("alice", "starter").await["stripe_customer_id"]
        .as_str()
        .unwrap()
        .to_owned();
    world.stripe_delete(&format!("/v1/customers/{first}")).await;
    world.settle().await;
    let again = world.subscribe("alice", "starter").await;
    assert_eq!(again["access"], "active");
    assert_ne!(again["stripe_customer_id"], json!(first));
}

#[tokio::test]
async fn a_session_that_expired_is_replaced() {
    let world = World::start().await;
    let first = world
        .checkout("alice", &json!({"plan": "starter"}))
        .await
        .body;
    world.advance(DAY).await;
    let second = world
        .checkout("alice", &json!({"plan": "starter"}))
        .await
        .body;
    assert_ne!(first["session_id"], second["session_id"]);
    let customer = customers(&world, "alice").await[0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(open_sessions(&world, &customer).await.len(), 1);
}
