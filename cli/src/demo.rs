//! `tollgate demo`: one subscriber's life, on a stack of its own, each step as it happened.
//!
//! It speaks to the product only as a frontend, a customer and Stripe do. A step that does not hold
//! ends it; nothing is printed that did not happen.

mod walk;

use std::io::{self, Write};

use local::stack::{Options, Stack};
use serde_json::{Value, json};

use self::walk::{DAY, Walk};
use crate::start::{self, start};

const GOOD_CARD: &str = "4242424242424242";
const CARD_THAT_FAILS_LATER: &str = "4000000000000341";

/// Why the demo ended early.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The stack does not start.
    #[error(transparent)]
    Start(#[from] start::Error),
    /// A part does not answer.
    #[error("no answer: {0}")]
    NoAnswer(#[from] reqwest::Error),
    /// Nothing can be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
    /// The product did something else.
    #[error("{what}: expected {expected}, found {found}")]
    Differs {
        /// What was looked at.
        what: &'static str,
        /// What should be there.
        expected: String,
        /// What was there.
        found: String,
    },
}

/// Starts a stack on free ports, walks a subscriber through it, and stops it.
///
/// # Errors
/// When a step does not hold.
pub async fn demo(out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let stack = start(Options::ephemeral()).await?;
    let walked = walk(&stack, out).await;
    stack.stop().await;
    walked
}

async fn walk(stack: &Stack, out: &mut (dyn Write + Send)) -> Result<(), Error> {
    let mut walk = Walk::new(stack, out);
    sign_up(&mut walk).await?;
    subscribe(&mut walk).await?;
    try_to_subscribe_again(&mut walk).await?;
    open_portal(&mut walk).await?;
    renew(&mut walk).await?;
    fail_to_renew(&mut walk).await?;
    recover(&mut walk).await?;
    change_plan(&mut walk).await?;
    cancel(&mut walk).await?;
    walk.say("that is all", "every step held")
}

async fn sign_up(walk: &mut Walk<'_>) -> Result<(), Error> {
    walk.sign_in("alice").await?;
    let me = walk.me_with_access("inactive").await?;
    walk.say("Alice signs in and has bought nothing yet", &summary(&me))
}

async fn subscribe(walk: &mut Walk<'_>) -> Result<(), Error> {
    let wish = json!({"plan": "starter", "interval": "month"});
    let session = walk
        .api_post("/api/billing/checkout-session", &wish, 200)
        .await?;
    let session_id = text(&session, "session_id");
    walk.say(
        "she asks for the starter plan",
        &format!("Checkout {session_id}"),
    )?;
    walk.sandbox_post(
        &format!("checkout/sessions/{session_id}/pay"),
        &json!({"card": GOOD_CARD}),
    )
    .await?;
    walk.settle().await?;
    let me = walk.me_with_access("active").await?;
    walk.expect("plan", "starter", &text(&me, "plan"))?;
    walk.say("she pays on Stripe's page", &summary(&me))
}

async fn try_to_subscribe_again(walk: &mut Walk<'_>) -> Result<(), Error> {
    let wish = json!({"plan": "pro", "interval": "month"});
    let refused = walk
        .api_post("/api/billing/checkout-session", &wish, 409)
        .await?;
    walk.expect("code", "already_subscribed", &text(&refused, "code"))?;
    walk.say(
        "a second tab cannot subscribe her twice",
        "409 already_subscribed",
    )
}

async fn open_portal(walk: &mut Walk<'_>) -> Result<(), Error> {
    let portal = walk
        .api_post("/api/billing/portal-session", &json!({}), 200)
        .await?;
    let url = text(&portal, "url");
    walk.expect(
        "the Portal's address is http",
        "true",
        &url.starts_with("http").to_string(),
    )?;
    walk.say("she opens the Customer Portal", &url)
}

async fn renew(walk: &mut Walk<'_>) -> Result<(), Error> {
    let before = walk.me().await?;
    walk.advance(32 * DAY).await?;
    let me = walk.me_with_access("active").await?;
    let moved = text(&me, "current_period_end") > text(&before, "current_period_end");
    walk.expect("the period moved on", "true", &moved.to_string())?;
    walk.say("a month later it renews by itself", &summary(&me))
}

async fn fail_to_renew(walk: &mut Walk<'_>) -> Result<(), Error> {
    walk.default_card(CARD_THAT_FAILS_LATER).await?;
    walk.advance(31 * DAY).await?;
    let me = walk.me_with_access("grace").await?;
    walk.say("her new card fails at the next renewal", &summary(&me))
}

async fn recover(walk: &mut Walk<'_>) -> Result<(), Error> {
    walk.default_card(GOOD_CARD).await?;
    // Stripe tries again some days later; within the grace of 7 days she never lost access.
    for _day in 0..6 {
        walk.advance(DAY).await?;
        if text(&walk.me().await?, "access") == "active" {
            break;
        }
    }
    let me = walk.me_with_access("active").await?;
    walk.say("she fixes the card and Stripe tries again", &summary(&me))
}

async fn change_plan(walk: &mut Walk<'_>) -> Result<(), Error> {
    let prices = walk
        .stripe_get("/v1/prices?lookup_keys[0]=tollgate_pro_month")
        .await?;
    let price_id = text(prices.pointer("/data/0").unwrap_or(&Value::Null), "id");
    let subscription = walk.subscription().await?;
    let item_id = text(
        subscription
            .pointer("/items/data/0")
            .unwrap_or(&Value::Null),
        "id",
    );
    let change = [
        ("items[0][id]", item_id.as_str()),
        ("items[0][price]", price_id.as_str()),
    ];
    walk.update_subscription(&text(&subscription, "id"), &change)
        .await?;
    let me = walk.me_with_access("active").await?;
    walk.expect("plan", "pro", &text(&me, "plan"))?;
    walk.say("in the Portal she changes to the pro plan", &summary(&me))
}

async fn cancel(walk: &mut Walk<'_>) -> Result<(), Error> {
    let subscription = walk.subscription().await?;
    walk.update_subscription(
        &text(&subscription, "id"),
        &[("cancel_at_period_end", "true")],
    )
    .await?;
    let me = walk.me_with_access("active").await?;
    walk.expect(
        "cancel_at",
        &text(&me, "current_period_end"),
        &text(&me, "cancel_at"),
    )?;
    walk.say(
        "there she also cancels, and keeps what she paid for",
        &summary(&me),
    )?;
    walk.advance(32 * DAY).await?;
    let me = walk.me_with_access("inactive").await?;
    walk.say("at the period's end her access ends", &summary(&me))
}

/// What `GET /api/user/me` says, in short.
fn summary(me: &Value) -> String {
    let named = |label: &str, name: &str| match me.get(name).and_then(Value::as_str) {
        Some(value) => format!(", {label} {value}"),
        None => String::new(),
    };
    let tokens = match me.pointer("/tokens/balance").and_then(Value::as_i64) {
        Some(balance) if balance != 0 => format!(", {balance} tokens"),
        Some(_) | None => String::new(),
    };
    format!(
        "{}{}{}{}{}{tokens}",
        text(me, "access"),
        named("plan", "plan"),
        named("until", "current_period_end"),
        named("grace until", "grace_until"),
        named("cancels at", "cancel_at"),
    )
}

fn text(value: &Value, name: &str) -> String {
    value
        .get(name)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}
