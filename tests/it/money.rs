//! Tokens are counted like money: granted once, spent atomically, taken back and given back as the money
//! goes. The promise P6.

use futures::future::join_all;
use serde_json::{Value, json};
use shared::http::HttpClient;
use shared::store::{Spent, Store};

use crate::harness::{DAY, GOOD_CARD, World};

/// A card whose payments are disputed at once.
const DISPUTED_CARD: &str = "4000000000000259";

/// A direct debit that takes days, and one that fails after them.
const SLOW_IBAN: &str = "AT321904300235473204";
const FAILING_IBAN: &str = "AT861904300235473202";

async fn buy(world: &World, user: &str, wanted: &Value, card: &str) -> Value {
    let opened = world.checkout(user, wanted).await;
    assert_eq!(opened.status, 200, "{opened:?}");
    let paid = world
        .pay(opened.body["session_id"].as_str().unwrap(), card)
        .await;
    assert_eq!(paid.status, 200, "{paid:?}");
    world.settle().await;
    world.me(user).await
}

async fn balance(world: &World, user: &str) -> i64 {
    world.settle().await;
    let balance = world.me(user).await["tokens"]["balance"].as_i64().unwrap();
    assert_eq!(
        balance,
        ledger_sum(world, user).await,
        "P6: the balance is the sum of the ledger"
    );
    balance
}

async fn ledger_sum(world: &World, user: &str) -> i64 {
    let table = world.table().await;
    let entries = table
        .iter()
        .filter(|((pk, sk), _)| *pk == format!("USER#{user}") && sk.starts_with("LEDGER#"));
    entries
        .map(|(_, item)| item["tokens"].as_n().unwrap().parse::<i64>().unwrap())
        .sum()
}

async fn newest(world: &World, path: &str) -> Value {
    let listed = world.stripe_get(path).await;
    listed["data"][0].clone()
}

#[tokio::test]
async fn f11_a_refund_takes_its_share_of_a_pack_back() {
    let world = World::start().await;
    let me = buy(&world, "alice", &json!({"pack": "tokens_1000"}), GOOD_CARD).await;
    assert_eq!(me["tokens"]["balance"], 1_000);
    let customer = me["stripe_customer_id"].as_str().unwrap();
    let payment = newest(&world, &format!("/v1/payment_intents?customer={customer}")).await;
    let payment = payment["id"].as_str().unwrap();
    for (amount, left) in [("200", 600), ("300", 0)] {
        let refund = [("payment_intent", payment), ("amount", amount)];
        assert_eq!(world.stripe_post("/v1/refunds", &refund).await.status, 200);
        assert_eq!(balance(&world, "alice").await, left);
    }
}

#[tokio::test]
async fn f11_a_refund_of_a_period_takes_its_tokens_back() {
    let world = World::start().await;
    let me = world.subscribe("alice", "starter").await;
    assert_eq!(me["tokens"]["balance"], 1_000);
    let customer = me["stripe_customer_id"].as_str().unwrap();
    world.advance(31 * DAY).await;
    assert_eq!(
        balance(&world, "alice").await,
        2_000,
        "each period grants once"
    );
    let charge = newest(&world, &format!("/v1/charges?customer={customer}")).await;
    let refund = [("charge", charge["id"].as_str().unwrap())];
    assert_eq!(world.stripe_post("/v1/refunds", &refund).await.status, 200);
    assert_eq!(balance(&world, "alice").await, 1_000);
}

#[tokio::test]
async fn f11_a_dispute_takes_the_tokens_and_a_won_one_gives_them_back() {
    let world = World::start().await;
    for (user, wanted, won, left) in [
        ("winner", json!({"pack": "tokens_1000"}), true, 1_000),
        ("loser", json!({"pack": "tokens_1000"}), false, 0),
        ("subscriber", json!({"plan": "starter"}), true, 1_000),
    ] {
        let me = buy(&world, user, &wanted, DISPUTED_CARD).await;
        assert_eq!(
            balance(&world, user).await,
            0,
            "{user}: the money is withdrawn"
        );
        let customer = me["stripe_customer_id"].as_str().unwrap();
        let charge = newest(&world, &format!("/v1/charges?customer={customer}")).await;
        let charge = charge["id"].as_str().unwrap();
        let dispute = newest(&world, &format!("/v1/disputes?charge={charge}")).await;
        let path = format!("disputes/{}/close", dispute["id"].as_str().unwrap());
        let closed = world.control(&path, &json!({"won": won})).await;
        assert_eq!(closed.status, 200, "{closed:?}");
        assert_eq!(balance(&world, user).await, left, "{user}");
    }
}

#[tokio::test]
async fn f23_a_delayed_payment_gives_nothing_before_the_money_is_there() {
    let world = World::start().await;
    for (user, iban, tokens) in [("patient", SLOW_IBAN, 1_000), ("unlucky", FAILING_IBAN, 0)] {
        let me = buy(&world, user, &json!({"pack": "tokens_1000"}), iban).await;
        assert_eq!(me["tokens"]["balance"], 0, "{user}");
        world.advance(DAY).await;
        assert_eq!(balance(&world, user).await, tokens, "{user}");
    }
}

#[tokio::test]
async fn f23_a_subscription_by_direct_debit_gives_access_once_it_is_paid() {
    let world = World::start().await;
    let me = buy(&world, "alice", &json!({"plan": "starter"}), SLOW_IBAN).await;
    assert_eq!(
        (&me["access"], &me["tokens"]["balance"]),
        (&json!("inactive"), &json!(0)),
        "{me}"
    );
    let again = world.checkout("alice", &json!({"plan": "pro"})).await;
    assert_eq!(again.status, 409, "the payment is on its way");
    world.advance(DAY).await;
    let me = world.me("alice").await;
    assert_eq!(
        (&me["access"], balance(&world, "alice").await),
        (&json!("active"), 1_000),
        "{me}"
    );
}

#[tokio::test]
async fn p6_fifty_spenders_at_once_never_spend_what_is_not_there() {
    let world = World::start().await;
    buy(&world, "alice", &json!({"pack": "tokens_1000"}), GOOD_CARD).await;
    let store = Store::new(&world.environment(), &HttpClient::new()).unwrap();
    let user = "alice".into();
    let now = world.now();
    let spend = |number: usize| {
        let (store, user) = (&store, &user);
        async move {
            let key = format!("key-{number}");
            store
                .spend(user, &key, 30, &format!("spender-{number}"), now)
                .await
                .unwrap()
        }
    };
    let outcomes = join_all((0..50).map(spend)).await;
    let spent = outcomes
        .iter()
        .filter(|outcome| **outcome == Spent::Spent)
        .count();
    assert_eq!(spent, 33, "thirty-three times thirty of a thousand");
    assert_eq!(balance(&world, "alice").await, 10);
    let again = store.spend(&user, "key-0", 30, "again", now).await.unwrap();
    assert_ne!(again, Spent::Spent, "one key spends once");
    assert_eq!(balance(&world, "alice").await, 10);
}

#[tokio::test]
async fn a_payment_method_is_kept_by_brand_last_four_and_expiry_only() {
    let world = World::start().await;
    let me = world.subscribe("alice", "starter").await;
    let customer = me["stripe_customer_id"].as_str().unwrap();
    let method = newest(&world, &format!("/v1/payment_methods?customer={customer}")).await;
    let id = method["id"].as_str().unwrap();
    let kept = world
        .item("USER#alice", &format!("PAYMENT_METHOD#{id}"))
        .await
        .unwrap();
    let mut names: Vec<&str> = kept.keys().map(String::as_str).collect();
    names.sort_unstable();
    let expected = [
        "brand",
        "detached",
        "exp_month",
        "exp_year",
        "id",
        "last4",
        "pk",
        "sk",
        "type",
        "version",
    ];
    assert_eq!(names, expected);
    assert_eq!(kept["last4"].as_s().unwrap(), "4242");
    let renewed = [("card[exp_year]", "2044")];
    let path = format!("/v1/payment_methods/{id}");
    assert_eq!(world.stripe_post(&path, &renewed).await.status, 200);
    world.settle().await;
    let kept = world
        .item("USER#alice", &format!("PAYMENT_METHOD#{id}"))
        .await
        .unwrap();
    assert_eq!(kept["exp_year"].as_n().unwrap(), "2044");
    let path = format!("/v1/payment_methods/{id}/detach");
    assert_eq!(world.stripe_post(&path, &[]).await.status, 200);
    world.settle().await;
    let kept = world
        .item("USER#alice", &format!("PAYMENT_METHOD#{id}"))
        .await
        .unwrap();
    assert!(kept["detached"].as_bool().unwrap());
}

#[tokio::test]
async fn f25_a_customer_deleted_at_stripe_has_nothing_left() {
    let world = World::start().await;
    let me = world.subscribe("alice", "starter").await;
    let customer = me["stripe_customer_id"].as_str().unwrap();
    world
        .stripe_delete(&format!("/v1/customers/{customer}"))
        .await;
    world.settle().await;
    let me = world.me("alice").await;
    assert_eq!(
        (&me["access"], &me["stripe_customer_id"]),
        (&json!("inactive"), &json!(null))
    );
    assert_eq!(me["tokens"]["balance"], 1_000, "what was paid for stays");
}
