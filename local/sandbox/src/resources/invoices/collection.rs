//! Collecting invoices: attempts, Stripe's retries, and giving up.
//!
//! What a payment means for a subscription is told to `subscription_outcomes`.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::payment_intents;
use crate::resources::payment_intents::attempts::{self, Attempt};
use crate::resources::{copy_all, subscription_outcomes};
use crate::world::{PayOutcome, World};

/// Days between the attempts of Stripe's smart retries.
const RETRY_DAYS: [i64; 3] = [3, 5, 7];

/// The payment method that an invoice is charged to.
pub(crate) fn payment_method(world: &World, invoice: &Value) -> Option<String> {
    let of_subscription = world
        .object(invoice.text("_subscription"))
        .map(|s| s.text("default_payment_method"));
    let of_customer = world
        .object(invoice.text("customer"))
        .map(|c| c.text("invoice_settings/default_payment_method"));
    [
        Some(invoice.text("default_payment_method")),
        of_subscription,
        of_customer,
    ]
    .into_iter()
    .flatten()
    .find(|id| !id.is_empty())
    .map(str::to_owned)
}

/// Tries to collect an open invoice. `automatic` attempts are counted and scheduled again.
pub(crate) fn collect(
    world: &mut World,
    id: &str,
    method: Option<String>,
    how: Attempt,
    automatic: bool,
) -> Result<PayOutcome, ApiError> {
    let invoice = world.require("invoice", id, "invoice")?.clone();
    let intent = invoice.text("_payment_intent").to_owned();
    let outcome = match method.or_else(|| payment_method(world, &invoice)) {
        Some(method) => attempts::attempt(world, &intent, &method, how),
        None => Err(ApiError::invalid(
            "There is no `default_payment_method` set on this Customer or Invoice. Please provide a payment method.",
        )
        .code("invoice_no_payment_method_types")),
    };
    conclude(world, id, &outcome, automatic);
    outcome
}

/// Draws the consequences of a payment attempt that somebody made.
pub(crate) fn settle(world: &mut World, id: &str, outcome: &Result<PayOutcome, ApiError>) {
    conclude(world, id, outcome, false);
}

fn conclude(world: &mut World, id: &str, outcome: &Result<PayOutcome, ApiError>, automatic: bool) {
    let intent = world
        .object(id)
        .map_or("", |invoice| invoice.text("_payment_intent"));
    if outcome.is_ok() && attempts::is_processing(world, intent) {
        subscription_outcomes::payment_under_way(world, id);
        return;
    }
    match outcome {
        Ok(PayOutcome::Complete) => mark_paid(world, id),
        Ok(PayOutcome::RequiresAction) => fail(world, id, automatic, true),
        Err(_) => fail(world, id, automatic, false),
    }
}

/// Marks an invoice as paid and tells its subscription.
pub(crate) fn mark_paid(world: &mut World, id: &str) {
    let Some(mut invoice) = world.object(id).cloned() else {
        return;
    };
    let now = world.now();
    let due = invoice.int("amount_due");
    let members = json!({
        "amount_paid": due, "amount_remaining": 0, "attempted": true,
        "attempt_count": if due == 0 { 0 } else { invoice.int("attempt_count").max(1) }, "auto_advance": false,
        "next_payment_attempt": null, "status": "paid",
    });
    copy_all(&mut invoice, &members);
    invoice.set("status_transitions/paid_at", now);
    world.update("invoice.updated", invoice.clone());
    world.emit("invoice.paid", &invoice, None);
    world.emit("invoice.payment_succeeded", &invoice, None);
    let payment = world.object(invoice.text("_payment")).cloned();
    if let Some(mut payment) = payment.filter(|payment| payment.text("status") == "open") {
        payment.set("amount_paid", due);
        payment.set("status", "paid");
        payment.set("status_transitions/paid_at", now);
        world.announce("invoice_payment.paid", payment);
    }
    subscription_outcomes::invoice_paid(world, &invoice);
}

fn fail(world: &mut World, id: &str, automatic: bool, wants_action: bool) {
    let Some(mut invoice) = world.object(id).cloned() else {
        return;
    };
    let attempts = invoice.int("attempt_count");
    let mut exhausted = false;
    // Stripe counts the first attempt of any kind, and then only its own.
    if automatic || attempts == 0 {
        invoice.set("attempt_count", attempts + 1);
        let delay = usize::try_from(attempts)
            .ok()
            .and_then(|attempt| RETRY_DAYS.get(attempt));
        let retried = invoice.text("billing_reason") != "subscription_create";
        let next = delay
            .filter(|_| retried)
            .map(|days| world.now() + days * 86_400);
        exhausted = retried && next.is_none();
        invoice.set("next_payment_attempt", json!(next));
    }
    invoice.set("attempted", true);
    world.update("invoice.updated", invoice.clone());
    if wants_action {
        world.emit("invoice.payment_action_required", &invoice, None);
    }
    world.emit("invoice.payment_failed", &invoice, None);
    subscription_outcomes::invoice_failed(world, &invoice, exhausted);
}

/// Takes an invoice out of collection: `void` or `uncollectible`.
pub(crate) fn give_up(world: &mut World, id: &str, status: &str) -> Result<Value, ApiError> {
    let mut invoice = world.require("invoice", id, "invoice")?.clone();
    if !matches!(invoice.text("status"), "open" | "uncollectible") {
        return Err(ApiError::invalid(format!(
            "You can only pass in open or uncollectible invoices. This invoice isn't open (its status is {}).",
            invoice.text("status")
        )));
    }
    let (moment, event) = if status == "void" {
        ("voided_at", "invoice.voided")
    } else {
        ("marked_uncollectible_at", "invoice.marked_uncollectible")
    };
    invoice.set("status", status);
    invoice.set("auto_advance", false);
    invoice.set("next_payment_attempt", Value::Null);
    invoice.set(&format!("status_transitions/{moment}"), world.now());
    world.announce(event, invoice.clone());
    let intent = invoice.text("_payment_intent").to_owned();
    if status == "void" && !intent.is_empty() {
        payment_intents::cancel(world, &intent, Some("void_invoice"))?;
        if let Some(mut payment) = world.object(invoice.text("_payment")).cloned() {
            payment.set("status", "canceled");
            payment.set("status_transitions/canceled_at", world.now());
            world.put(payment);
        }
    }
    subscription_outcomes::invoice_voided(world, &invoice);
    Ok(invoice)
}
