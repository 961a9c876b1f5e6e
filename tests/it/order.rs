//! Order does not matter: a history of events, delivered in any order, late, and several times, leaves
//! every user with what Stripe's objects say. The promises P2, P3 and P6.
//!
//! Each history happens to many users in step. Some are told nothing until it is over, others a random
//! part after each step, so that an event may arrive before, between or long after its neighbours. The
//! random choices are seeded by the user's name: a failure repeats.

use std::collections::BTreeMap;

use futures::future::join_all;
use serde_json::{Value, json};

use crate::harness::{DAY, FAILS_LATER_CARD, GOOD_CARD, World};

/// How many users a history happens to.
const USERS: usize = 7;

/// A card whose payments are disputed at once.
const DISPUTED_CARD: &str = "4000000000000259";

/// What happens, to every user alike.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A Checkout of that plan is paid with that card.
    Plan(&'static str, &'static str),
    /// The same for a token pack.
    Pack(&'static str),
    /// Another card pays from now on.
    Card(&'static str),
    /// Days pass.
    Days(i64),
    /// The subscription's price becomes that plan's.
    ChangeTo(&'static str),
    /// That share of the newest payment goes back, in percent.
    Refund(i64),
    /// The newest payment's dispute is decided.
    Close {
        /// In our favour.
        won: bool,
    },
    /// The subscription ends.
    Cancel,
}

/// One user's way through a history.
struct User {
    name: String,
    customer: String,
    rng: fastrand::Rng,
    /// Whether anything is told before the history is over.
    is_told_at_once: bool,
    /// What is still to be delivered, each as often as it will be.
    waiting: Vec<Value>,
    /// What each event was answered, in the order of its deliveries.
    answers: BTreeMap<String, Vec<String>>,
    /// The same as one line of types and answers, for a failure.
    told: String,
}

impl User {
    /// Delivers some of what waits, or all of it, in a random order; some of it at the same time.
    async fn tell(&mut self, world: &World, all: bool) {
        self.rng.shuffle(&mut self.waiting);
        let kept = match (all, self.is_told_at_once) {
            (true, _) => 0,
            (false, true) => self.rng.usize(..=self.waiting.len()),
            (false, false) => self.waiting.len(),
        };
        let told = self.waiting.split_off(kept);
        let mut rest = told.as_slice();
        while !rest.is_empty() {
            let (group, later) = rest.split_at(self.rng.usize(1..=3).min(rest.len()));
            rest = later;
            let answers = join_all(group.iter().map(|event| world.deliver(event))).await;
            for (event, answer) in group.iter().zip(answers) {
                assert_eq!(answer.status, 200, "{}: {answer:?}, {event}", self.name);
                let outcome = answer.body["outcome"].as_str().unwrap().to_owned();
                let event_type = event["type"].as_str().unwrap();
                self.told.push_str(&format!("{event_type} {outcome}, "));
                let id = event["id"].as_str().unwrap().to_owned();
                self.answers.entry(id).or_default().push(outcome);
            }
        }
    }

    async fn newest(&self, world: &World, kind: &str) -> Value {
        let path = format!("/v1/{kind}?customer={}&limit=1", self.customer);
        let listed = world.stripe_get(&path).await;
        assert!(listed["data"][0].is_object(), "{}: {kind}", self.name);
        listed["data"][0].clone()
    }

    async fn buy(&mut self, world: &World, wanted: &Value, card: &str) {
        let opened = world.checkout(&self.name, wanted).await;
        assert_eq!(opened.status, 200, "{}: {opened:?}", self.name);
        let paid = world
            .pay(opened.body["session_id"].as_str().unwrap(), card)
            .await;
        assert_eq!(paid.status, 200, "{}: {paid:?}", self.name);
        let me = world.me(&self.name).await;
        me["stripe_customer_id"]
            .as_str()
            .unwrap()
            .clone_into(&mut self.customer);
    }

    async fn take(&mut self, world: &World, step: Step) {
        let answer = match step {
            Step::Plan(plan, card) => return self.buy(world, &json!({"plan": plan}), card).await,
            Step::Pack(card) => {
                return self.buy(world, &json!({"pack": "tokens_1000"}), card).await;
            }
            // The clock is everyone's.
            Step::Days(_) => return,
            Step::Card(card) => {
                let path = format!("customers/{}/default-card", self.customer);
                world.control(&path, &json!({"card": card})).await
            }
            Step::ChangeTo(plan) => {
                let subscription = self.newest(world, "subscriptions").await;
                let item = subscription["items"]["data"][0]["id"].as_str().unwrap();
                let price = price_of(world, plan).await;
                let form = [("items[0][id]", item), ("items[0][price]", price.as_str())];
                let id = subscription["id"].as_str().unwrap();
                world
                    .stripe_post(&format!("/v1/subscriptions/{id}"), &form)
                    .await
            }
            Step::Refund(percent) => {
                let charge = self.newest(world, "charges").await;
                let amount = (charge["amount"].as_i64().unwrap() * percent / 100).to_string();
                let payment = charge["payment_intent"].as_str().unwrap();
                let form = [("payment_intent", payment), ("amount", amount.as_str())];
                world.stripe_post("/v1/refunds", &form).await
            }
            Step::Close { won } => {
                let charge = self.newest(world, "charges").await;
                let path = format!("/v1/disputes?charge={}", charge["id"].as_str().unwrap());
                let disputes = world.stripe_get(&path).await;
                let dispute = disputes["data"][0]["id"].as_str().unwrap();
                let path = format!("disputes/{dispute}/close");
                world.control(&path, &json!({"won": won})).await
            }
            Step::Cancel => {
                let subscription = self.newest(world, "subscriptions").await;
                let path = format!("/v1/subscriptions/{}", subscription["id"].as_str().unwrap());
                world.stripe_delete(&path).await;
                return;
            }
        };
        assert_eq!(answer.status, 200, "{}: {step:?}: {answer:?}", self.name);
    }

    /// What holds for every user when all is told, whatever the order was.
    async fn assert_right(&self, world: &World, tokens: i64) {
        let name = &self.name;
        for (id, answers) in &self.answers {
            let done = answers
                .iter()
                .filter(|answer| *answer != "duplicate")
                .count();
            assert_eq!(done, 1, "P2: {name}: {id}: {answers:?}: {}", self.told);
            let is_kept = answers
                .iter()
                .any(|answer| answer == "pending" || answer == "parked");
            assert!(!is_kept, "{name}: {id}: {answers:?}");
        }
        let me = world.me(name).await;
        assert_eq!(me["tokens"]["balance"], tokens, "P3: {name}: {}", self.told);
        let subscriptions = world
            .stripe_get(&format!(
                "/v1/subscriptions?customer={}&status=all",
                self.customer
            ))
            .await;
        if subscriptions["data"][0].is_object() {
            world.assert_equals_stripe(name).await;
        }
    }
}

/// The price of a plan, as Stripe lists it.
async fn price_of(world: &World, plan: &str) -> String {
    let listed = world.stripe_get("/v1/prices?limit=100&active=true").await;
    let prices = listed["data"].as_array().unwrap();
    let is_wanted = |price: &&Value| {
        let key = price["lookup_key"].as_str().unwrap_or_default();
        key.contains(plan) && key.contains("month")
    };
    prices.iter().find(is_wanted).unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Everything new at the sandbox, oldest first.
async fn new_events(world: &World, last: &mut Option<String>) -> Vec<Value> {
    let mut events = Vec::new();
    loop {
        let after = last.as_ref().map(|id| format!("&ending_before={id}"));
        let path = format!("/v1/events?limit=100{}", after.clone().unwrap_or_default());
        let page = world.stripe_get(&path).await;
        let newer = page["data"].as_array().unwrap();
        if let Some(newest) = newer.first() {
            *last = Some(newest["id"].as_str().unwrap().to_owned());
        }
        events.extend(newer.iter().rev().cloned());
        if after.is_none() || page["has_more"] != true {
            return events;
        }
    }
}

/// Whose an event is: a dispute names its charge only.
fn customer_of(event: &Value, charges: &mut BTreeMap<String, String>) -> Option<String> {
    let object = &event["data"]["object"];
    let text = |name: &str| object[name].as_str().map(str::to_owned);
    if object["object"] == "charge" {
        charges.insert(text("id")?, text("customer")?);
    }
    match object["object"].as_str()? {
        "customer" => text("id"),
        "dispute" => charges.get(&text("charge")?).cloned(),
        _ => text("customer"),
    }
}

/// Lets a history happen to all users, and compares each of them with Stripe, and their tokens with
/// what the history leaves.
async fn hold(steps: &[Step], tokens: i64) {
    let world = World::start().await;
    world.stop_delivery().await;
    let mut users: Vec<User> = (0..USERS)
        .map(|number| User {
            name: format!("user-{number}"),
            customer: String::new(),
            rng: fastrand::Rng::with_seed(u64::try_from(number).unwrap()),
            is_told_at_once: number % 3 > 0,
            waiting: Vec::new(),
            answers: BTreeMap::new(),
            told: String::new(),
        })
        .collect();
    let (mut last, mut charges) = (None, BTreeMap::new());
    // What the catalogue's sync made is nobody's.
    new_events(&world, &mut last).await;
    for step in steps {
        if let Step::Days(days) = step {
            world.advance(days * DAY).await;
        }
        join_all(users.iter_mut().map(|user| user.take(&world, *step))).await;
        for event in new_events(&world, &mut last).await {
            let customer = customer_of(&event, &mut charges);
            let whose = users
                .iter_mut()
                .find(|user| customer.as_ref() == Some(&user.customer));
            if let Some(user) = whose {
                let times = user.rng.usize(1..=3);
                user.waiting.extend(std::iter::repeat_n(event, times));
            }
        }
        join_all(users.iter_mut().map(|user| user.tell(&world, false))).await;
    }
    join_all(users.iter_mut().map(|user| user.tell(&world, true))).await;
    let deliveries: usize = users
        .iter()
        .flat_map(|user| user.answers.values())
        .map(Vec::len)
        .sum();
    println!("{deliveries} deliveries to {USERS} users");
    join_all(users.iter().map(|user| user.assert_right(&world, tokens))).await;

    let table = world.table().await;
    for user in &users {
        let pk = format!("USER#{}", user.name);
        let entries = table
            .iter()
            .filter(|((of, sk), _)| *of == pk && sk.starts_with("LEDGER#"));
        let sum: i64 = entries
            .map(|(_, item)| item["tokens"].as_n().unwrap().parse::<i64>().unwrap())
            .sum();
        assert_eq!(
            sum, tokens,
            "P6: {pk}: the balance is the sum of the ledger"
        );
    }
    let waiting = table
        .iter()
        .filter(|((pk, _), item)| pk.starts_with("EVENT#") && item.contains_key("status_key"));
    assert_eq!(waiting.count(), 0, "nothing is pending or parked");
}

#[tokio::test]
async fn p3_a_first_subscription_in_any_order() {
    hold(&[Step::Plan("starter", GOOD_CARD)], 1_000).await;
}

#[tokio::test]
async fn p3_a_trial_that_becomes_paid_in_any_order() {
    // The trial is a period of its own, with an invoice of nothing.
    hold(&[Step::Plan("pro", GOOD_CARD), Step::Days(15)], 20_000).await;
}

#[tokio::test]
async fn p3_a_renewal_that_fails_and_recovers_in_any_order() {
    let steps = [
        Step::Plan("starter", GOOD_CARD),
        Step::Card(FAILS_LATER_CARD),
        Step::Days(31),
        Step::Card(GOOD_CARD),
        Step::Days(8),
    ];
    hold(&steps, 2_000).await;
}

#[tokio::test]
async fn p3_a_plan_change_in_any_order() {
    let steps = [
        Step::Plan("starter", GOOD_CARD),
        Step::ChangeTo("pro"),
        Step::Days(31),
    ];
    hold(&steps, 11_000).await;
}

#[tokio::test]
async fn p3_a_cancellation_in_any_order() {
    hold(&[Step::Plan("starter", GOOD_CARD), Step::Cancel], 1_000).await;
}

#[tokio::test]
async fn p3_a_pack_refunded_in_parts_in_any_order() {
    let steps = [Step::Pack(GOOD_CARD), Step::Refund(40), Step::Refund(30)];
    hold(&steps, 300).await;
}

#[tokio::test]
async fn p3_a_dispute_won_in_any_order() {
    let steps = [
        Step::Plan("starter", GOOD_CARD),
        Step::Pack(DISPUTED_CARD),
        Step::Close { won: true },
    ];
    hold(&steps, 2_000).await;
}

#[tokio::test]
async fn p3_a_dispute_lost_in_any_order() {
    hold(&[Step::Pack(DISPUTED_CARD), Step::Close { won: false }], 0).await;
}

#[tokio::test]
async fn p3_a_disputed_period_in_any_order() {
    let steps = [
        Step::Plan("starter", DISPUTED_CARD),
        Step::Close { won: true },
    ];
    hold(&steps, 1_000).await;
}
