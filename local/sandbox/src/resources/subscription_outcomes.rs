//! What payments, failures and ends do to a subscription.
//!
//! <https://docs.stripe.com/billing/subscriptions/overview#subscription-statuses>

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{payment_methods, subscription_changes};
use crate::world::World;

/// Makes a subscription active when it was waiting for a payment.
pub(crate) fn activate(world: &mut World, id: &str) {
    let Some(mut subscription) = world.object(id).cloned() else {
        return;
    };
    if matches!(
        subscription.text("status"),
        "incomplete" | "past_due" | "unpaid"
    ) {
        subscription.set("status", "active");
        world.update("customer.subscription.updated", subscription);
    }
}

/// An invoice was paid.
pub(crate) fn invoice_paid(world: &mut World, invoice: &Value) {
    let Some(mut subscription) = world.object(invoice.text("_subscription")).cloned() else {
        return;
    };
    let intent = world
        .object(invoice.text("_payment_intent"))
        .cloned()
        .unwrap_or_default();
    let method = intent.text("payment_method").to_owned();
    let saves =
        subscription.text("payment_settings/save_default_payment_method") == "on_subscription";
    if saves && !method.is_empty() && !subscription.is_set("default_payment_method") {
        payment_methods::set_up(world, &method);
        subscription.set("default_payment_method", method);
        world.put(subscription.clone());
    }
    subscription_changes::apply_pending(world, &mut subscription, invoice);
    if subscription.text("latest_invoice") == invoice.text("id")
        || !has_open_invoice(world, subscription.text("id"))
    {
        activate(world, subscription.text("id"));
    }
}

/// A debit for an invoice is under way; Stripe trusts it until it fails.
pub(crate) fn payment_under_way(world: &mut World, invoice: &str) {
    let id = world.object(invoice).map_or(String::new(), |invoice| {
        invoice.text("_subscription").to_owned()
    });
    if world
        .object(&id)
        .is_some_and(|subscription| subscription.text("status") == "incomplete")
    {
        activate(world, &id);
    }
}

fn has_open_invoice(world: &World, id: &str) -> bool {
    world
        .list("invoice")
        .iter()
        .any(|invoice| invoice.text("_subscription") == id && invoice.text("status") == "open")
}

/// An invoice could not be collected; `exhausted` when Stripe will not try again.
pub(crate) fn invoice_failed(world: &mut World, invoice: &Value, exhausted: bool) {
    let Some(mut subscription) = world.object(invoice.text("_subscription")).cloned() else {
        return;
    };
    let id = subscription.text("id").to_owned();
    let waits_for_update = subscription.is_set("pending_update");
    if subscription.text("status") == "active" && !waits_for_update {
        subscription.set("status", "past_due");
        world.update("customer.subscription.updated", subscription.clone());
    }
    if !exhausted {
        return;
    }
    match world.after_retries() {
        "unpaid" => {
            subscription.set("status", "unpaid");
            world.update("customer.subscription.updated", subscription);
        }
        "past_due" => {}
        _ => world.cancel_subscription(&id, Some("payment_failed")),
    }
}

/// The first invoice of a subscription was voided.
pub(crate) fn invoice_voided(world: &mut World, invoice: &Value) {
    let Some(mut subscription) = world.object(invoice.text("_subscription")).cloned() else {
        return;
    };
    let first = invoice.text("billing_reason") == "subscription_create";
    if first && subscription.text("status") == "incomplete" {
        subscription.set("status", "incomplete_expired");
        subscription.set("ended_at", world.now());
        world.update("customer.subscription.updated", subscription);
    } else if subscription.text("latest_invoice") == invoice.text("id") {
        activate(world, subscription.text("id"));
    }
}

impl World {
    /// What becomes of a subscription after the last retry: `cancel`, `unpaid` or `past_due`.
    ///
    /// # Errors
    /// When it is none of the three.
    pub fn set_after_retries(&mut self, outcome: &str) -> Result<(), ApiError> {
        if !matches!(outcome, "cancel" | "unpaid" | "past_due") {
            return Err(
                ApiError::invalid("Must be one of cancel, unpaid, or past_due.")
                    .param("after_retries"),
            );
        }
        self.kv_put("after_retries", json!(outcome));
        Ok(())
    }

    pub(crate) fn after_retries(&self) -> &str {
        self.kv_get("after_retries")
            .and_then(Value::as_str)
            .unwrap_or("cancel")
    }

    /// Ends a subscription now. Its open invoices are no longer collected and its pending items are dropped.
    pub(crate) fn cancel_subscription(&mut self, id: &str, reason: Option<&str>) {
        let Some(mut subscription) = self.object(id).cloned() else {
            return;
        };
        let now = self.now();
        if !subscription.is_set("canceled_at") {
            subscription.set("canceled_at", now);
        }
        if !subscription.is_set("cancellation_details/reason") {
            subscription.set(
                "cancellation_details/reason",
                reason.map_or(Value::Null, Value::from),
            );
        }
        subscription.set("ended_at", now);
        subscription.set("status", "canceled");
        self.announce("customer.subscription.deleted", subscription);
        let invoices: Vec<Value> = self
            .list("invoice")
            .into_iter()
            .filter(|invoice| {
                invoice.text("_subscription") == id
                    && matches!(invoice.text("status"), "draft" | "open")
            })
            .cloned()
            .collect();
        for mut invoice in invoices {
            invoice.set("auto_advance", false);
            invoice.set("automatically_finalizes_at", Value::Null);
            invoice.set("next_payment_attempt", Value::Null);
            self.update("invoice.updated", invoice);
        }
        let pending: Vec<String> = self
            .list("invoiceitem")
            .into_iter()
            .filter(|item| {
                !item.is_set("invoice")
                    && item.text("parent/subscription_details/subscription") == id
            })
            .map(|item| item.text("id").to_owned())
            .collect();
        for item in pending {
            self.remove(&item);
        }
    }
}
