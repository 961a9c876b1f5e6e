//! What the button of the Checkout page does: pay, save the card, start the subscription, complete the session.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::invoices::collection;
use crate::resources::payment_intents;
use crate::resources::payment_intents::attempts::{self, Attempt};
use crate::resources::subscriptions;
use crate::resources::subscriptions::beginning::{self, Beginning};
use crate::resources::{
    checkout, copy, customers, invoices, metadata, payment_methods, setup_intents,
};
use crate::world::{CardInput, PayOutcome, World};

impl World {
    /// What the button of the Checkout page does. A card that asks its holder answers `RequiresAction` until
    /// `authenticated` is given.
    ///
    /// # Errors
    /// A 402 with Stripe's decline code, or why the session cannot be paid.
    pub fn pay_checkout(
        &mut self,
        session: &str,
        card: &CardInput,
    ) -> Result<PayOutcome, ApiError> {
        self.tick();
        let found = open_session(self, session)?;
        let free = found.int("amount_total") == 0;
        let no_card = card.number.is_empty()
            && free
            && found.text("payment_method_collection") == "if_required";
        let method = if no_card {
            None
        } else {
            Some(payment_methods::from_card(self, card)?)
        };
        let outcome = pay(self, found, method.as_deref(), card.authenticated);
        if outcome == Ok(PayOutcome::RequiresAction)
            && let Some(method) = method
        {
            // The page asks again with the same card.
            self.remove(&method);
        }
        outcome
    }

    /// Pays with a payment method, or a test token, instead of a typed card.
    ///
    /// # Errors
    /// As `pay_checkout`.
    pub fn pay_checkout_with(
        &mut self,
        session: &str,
        payment_method: &str,
        authenticated: Option<bool>,
    ) -> Result<PayOutcome, ApiError> {
        self.tick();
        let found = open_session(self, session)?;
        let method = payment_methods::resolve(self, payment_method, "payment_method")?;
        pay(self, found, Some(&method), authenticated)
    }

    /// Ends an open Checkout Session.
    ///
    /// # Errors
    /// When there is no such open session.
    pub fn expire_checkout(&mut self, session: &str) -> Result<(), ApiError> {
        self.call(
            "POST",
            &format!("/v1/checkout/sessions/{session}/expire"),
            &json!({}),
        )
        .map(drop)
    }
}

fn open_session(world: &World, id: &str) -> Result<Value, ApiError> {
    let session = world.require("checkout.session", id, "session")?;
    if session.text("status") == "open" {
        return Ok(session.clone());
    }
    Err(ApiError::invalid(format!(
        "This Checkout Session is {}.",
        session.text("status")
    ))
    .code("checkout_session_not_open"))
}

fn pay(
    world: &mut World,
    mut session: Value,
    method: Option<&str>,
    answered: Option<bool>,
) -> Result<PayOutcome, ApiError> {
    let challenged = method
        .and_then(|id| world.object(id))
        .is_some_and(payment_methods::wants_authentication);
    // The page shows the challenge first; nothing has happened at Stripe until it is answered.
    if challenged && answered.is_none() {
        return Ok(PayOutcome::RequiresAction);
    }
    let customer = find_customer(world, &mut session)?;
    match (session.text("mode"), method) {
        ("payment", Some(method)) => pay_once(world, &mut session, method, &customer, answered)?,
        ("setup", Some(method)) => {
            let intent = save(world, method, &customer, answered)?;
            session.set("setup_intent", intent);
        }
        ("subscription", _) => subscribe(world, &mut session, method, &customer, answered)?,
        _ => {
            return Err(ApiError::card(
                "incomplete_number",
                None,
                "Your card number is incomplete.",
            ));
        }
    }
    complete(world, session);
    world.open_disputes();
    Ok(PayOutcome::Complete)
}

/// The session's customer, made when the mode needs one; empty for a guest.
fn find_customer(world: &mut World, session: &mut Value) -> Result<String, ApiError> {
    if session.is_set("customer") {
        return Ok(session.text("customer").to_owned());
    }
    let email = match session.text("customer_email") {
        "" => "customer@example.com".to_owned(),
        email => email.to_owned(),
    };
    if session.text("mode") == "payment" && session.text("customer_creation") != "always" {
        session.set(
            "customer_details",
            checkout::details(&json!({ "email": email })),
        );
        return Ok(String::new());
    }
    let customer = customers::create(world, &json!({ "email": email }))?;
    session.set("customer", customer.text("id"));
    session.set("customer_details", checkout::details(&customer));
    world.put(session.clone());
    Ok(customer.text("id").to_owned())
}

/// Pays the session's amount; the intent is kept for another try after a decline.
fn collect(
    world: &mut World,
    session: &mut Value,
    method: &str,
    customer: &str,
    authenticated: Option<bool>,
    data: &Value,
) -> Result<String, ApiError> {
    let mut id = session.text("_intent").to_owned();
    if id.is_empty() {
        let mut intent =
            payment_intents::blank(world, session.int("amount_total"), session.text("currency"));
        copy(
            &mut intent,
            data,
            &[
                "description",
                "receipt_email",
                "setup_future_usage",
                "statement_descriptor",
            ],
        );
        intent.set("metadata", metadata(data));
        if !customer.is_empty() {
            intent.set("customer", customer);
        }
        intent.set("_session", session.text("id"));
        id = intent.text("id").to_owned();
        world.announce("payment_intent.created", intent);
        session.set("_intent", id.as_str());
        world.put(session.clone());
    }
    attempts::attempt(
        world,
        &id,
        method,
        Attempt {
            off_session: false,
            authenticated,
        },
    )?;
    Ok(id)
}

fn pay_once(
    world: &mut World,
    session: &mut Value,
    method: &str,
    customer: &str,
    authenticated: Option<bool>,
) -> Result<(), ApiError> {
    if session.int("amount_total") > 0 {
        let data = session.at("_payment_intent_data").clone();
        let intent = collect(world, session, method, customer, authenticated, &data)?;
        session.set("payment_status", payment_status(world, &intent));
        session.set("payment_intent", intent);
    }
    Ok(())
}

/// A debit is not money yet.
fn payment_status(world: &World, intent: &str) -> &'static str {
    if attempts::is_processing(world, intent) {
        "unpaid"
    } else {
        "paid"
    }
}

/// Saves a card for later; answers the setup intent.
fn save(
    world: &mut World,
    method: &str,
    customer: &str,
    authenticated: Option<bool>,
) -> Result<String, ApiError> {
    let intent = setup_intents::create(world, &json!({ "customer": customer }));
    setup_intents::save(world, &intent, method, authenticated)?;
    Ok(intent)
}

fn subscribe(
    world: &mut World,
    session: &mut Value,
    method: Option<&str>,
    customer: &str,
    authenticated: Option<bool>,
) -> Result<(), ApiError> {
    let mut intent = None;
    match method {
        Some(method) if session.int("amount_total") > 0 => {
            let data = json!({ "description": "Subscription creation", "setup_future_usage": "off_session" });
            intent = Some(collect(
                world,
                session,
                method,
                customer,
                authenticated,
                &data,
            )?);
        }
        Some(method) => {
            save(world, method, customer, authenticated)?;
        }
        None => {}
    }
    let data = session.at("_subscription_data").clone();
    let (recurring, once): (Vec<&Value>, Vec<&Value>) = session
        .items("_line_items")
        .iter()
        .partition(|line| line.is_set("price/recurring"));
    let stored = |line: &Value| {
        world
            .object(line.text("price/id"))
            .cloned()
            .unwrap_or_default()
    };
    let items: Vec<_> = recurring
        .iter()
        .map(|line| {
            (
                stored(line),
                line.int("quantity"),
                line.at("metadata").clone(),
            )
        })
        .collect();
    let price = items
        .first()
        .map_or(&Value::Null, |(price, _, _)| price)
        .clone();
    let mut params = data.clone();
    params.set("automatic_tax", session.at("automatic_tax").clone());
    let draft = Beginning {
        customer,
        currency: session.text("currency"),
        items,
        trial_end: subscriptions::trial_end(world, &data, &price)?,
        anchor: data.get("billing_cycle_anchor").and_then(Value::as_i64),
        default_payment_method: method,
        params: &params,
    };
    let subscription = beginning::build(world, &draft);
    let once: Vec<Value> = once.into_iter().cloned().collect();
    add_once(world, &once, customer, session.text("currency"))?;
    let id = subscription.text("id").to_owned();
    let invoice = beginning::start(world, subscription, intent.as_deref())?;
    if let Some(intent) = &intent {
        settle(world, &invoice, intent);
    }
    session.set("subscription", id);
    session.set("invoice", invoice);
    if let Some(intent) = &intent {
        session.set("payment_status", payment_status(world, intent));
    }
    Ok(())
}

/// One-time prices in a subscription's session go onto its first invoice.
fn add_once(
    world: &mut World,
    lines: &[Value],
    customer: &str,
    currency: &str,
) -> Result<(), ApiError> {
    for line in lines {
        let params = json!({
            "customer": customer, "currency": currency, "quantity": line.int("quantity"),
            "pricing": { "price": line.text("price/id") }, "description": line.text("description"),
        });
        invoices::endpoints::create_item(world, &params)?;
    }
    Ok(())
}

/// Joins the payment that was made with its invoice.
fn settle(world: &mut World, invoice: &str, intent: &str) {
    if let Some(mut intent) = world.object(intent).cloned() {
        intent.set("_invoice", invoice);
        world.put(intent);
    }
    collection::settle(world, invoice, &Ok(PayOutcome::Complete));
}

fn complete(world: &mut World, mut session: Value) {
    session.set("status", "complete");
    session.set("url", Value::Null);
    if session.flag("automatic_tax/enabled") {
        session.set("automatic_tax/status", "complete");
    }
    world.announce("checkout.session.completed", session);
}
