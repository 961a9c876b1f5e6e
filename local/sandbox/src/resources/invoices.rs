//! Invoices from draft to paid: <https://docs.stripe.com/billing/invoices/workflow>.
//!
//! What a payment means for a subscription is told to `subscriptions`; the API is in `invoices::endpoints`.

pub(crate) mod collection;
pub(crate) mod endpoints;

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::copy_all;
use crate::resources::invoice_lines::{self, Period};
use crate::resources::payment_intents;
use crate::world::World;

/// What a new invoice is about.
pub(crate) struct Draft<'a> {
    pub(crate) customer: &'a str,
    pub(crate) currency: &'a str,
    /// Absent for a single invoice.
    pub(crate) subscription: Option<&'a Value>,
    pub(crate) reason: &'a str,
    pub(crate) lines: Vec<Value>,
    pub(crate) period: Period,
    /// When a draft becomes final by itself.
    pub(crate) finalizes_at: Option<i64>,
}

/// Announces a draft; answers its id.
pub(crate) fn create(world: &mut World, draft: Draft<'_>) -> String {
    let invoice = build(world, draft);
    publish(world, invoice)
}

/// Announces a built draft, which takes up its pending items; answers its id.
pub(crate) fn publish(world: &mut World, invoice: Value) -> String {
    let id = invoice.text("id").to_owned();
    for line in invoice.items("lines/data") {
        let details = line.text("parent/type");
        let item = line
            .text(&format!("parent/{details}/invoice_item"))
            .to_owned();
        if let Some(mut item) = world.object(&item).cloned() {
            item.set("invoice", id.as_str());
            world.put(item);
        }
    }
    world.announce("invoice.created", invoice);
    id
}

/// A draft that nobody has seen.
pub(crate) fn build(world: &World, draft: Draft<'_>) -> Value {
    let id = world.id("in_1");
    let customer = world.object(draft.customer).cloned().unwrap_or_default();
    let mut lines = draft.lines;
    for line in &mut lines {
        line.set("invoice", id.as_str());
    }
    let total: i64 = lines.iter().map(|line| line.int("amount")).sum();
    let parent = draft.subscription.map(|subscription| {
        json!({
            "quote_details": null,
            "subscription_details": {
                "metadata": subscription.at("metadata"), "subscription": subscription.text("id"),
            },
            "type": "subscription_details",
        })
    });
    let mut invoice = blank(&id, &customer, world.now());
    let members = json!({
        "amount_due": total.max(0), "amount_remaining": total.max(0), "auto_advance": draft.finalizes_at.is_some(),
        "automatically_finalizes_at": draft.finalizes_at, "billing_reason": draft.reason,
        "collection_method": draft.subscription.map_or("charge_automatically", |s| s.text("collection_method")),
        "currency": draft.currency, "parent": parent, "period_start": draft.period.start,
        "period_end": draft.period.end, "subtotal": total, "subtotal_excluding_tax": total, "total": total,
        "total_excluding_tax": total, "starting_balance": customer.int("balance"),
        "lines": { "object": "list", "data": lines, "has_more": false, "url": format!("/v1/invoices/{id}/lines") },
        "_subscription": draft.subscription.map(|subscription| subscription.text("id")),
    });
    copy_all(&mut invoice, &members);
    invoice.set("next_payment_attempt", json!(draft.finalizes_at));
    if draft
        .subscription
        .is_some_and(|subscription| subscription.flag("automatic_tax/enabled"))
    {
        invoice.set("automatic_tax", json!({
            "disabled_reason": null, "enabled": true, "liability": { "type": "self" }, "provider": "stripe",
            "status": "complete",
        }));
    }
    invoice
}

fn blank(id: &str, customer: &Value, now: i64) -> Value {
    json!({
        "id": id, "object": "invoice", "account_country": "US", "account_name": "Sandbox", "account_tax_ids": null,
        "amount_due": 0, "amount_overpaid": 0, "amount_paid": 0, "amount_paid_off_stripe": 0, "amount_remaining": 0,
        "amount_shipping": 0, "application": null, "attempt_count": 0, "attempted": false, "auto_advance": false,
        "automatic_tax": {
            "disabled_reason": null, "enabled": false, "liability": null, "provider": null, "status": null,
        },
        "automatically_finalizes_at": null, "billing_reason": "manual",
        "collection_method": "charge_automatically", "created": now, "currency": "usd", "custom_fields": null,
        "customer": customer.text("id"), "customer_account": null, "customer_address": customer.at("address"),
        "customer_email": customer.at("email"), "customer_name": customer.at("name"),
        "customer_phone": customer.at("phone"), "customer_shipping": customer.at("shipping"),
        "customer_tax_exempt": customer.at("tax_exempt"), "customer_tax_ids": [], "default_payment_method": null,
        "default_source": null, "default_tax_rates": [], "description": null, "discounts": [], "due_date": null,
        "effective_at": null, "ending_balance": null, "footer": null, "from_invoice": null,
        "hosted_invoice_url": null, "invoice_pdf": null, "issuer": { "type": "self" },
        "last_finalization_error": null, "latest_revision": null, "lines": null, "livemode": false, "metadata": {},
        "next_payment_attempt": null, "number": null, "on_behalf_of": null, "parent": null,
        "payment_settings": { "default_mandate": null, "payment_method_options": null, "payment_method_types": null },
        "period_end": now, "period_start": now, "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0, "receipt_number": null, "rendering": null, "shipping_cost": null,
        "shipping_details": null, "starting_balance": 0, "statement_descriptor": null, "status": "draft",
        "status_transitions": {
            "finalized_at": null, "marked_uncollectible_at": null, "paid_at": null, "voided_at": null,
        },
        "subtotal": 0, "subtotal_excluding_tax": 0, "test_clock": null, "total": 0, "total_discount_amounts": [],
        "total_excluding_tax": 0, "total_pretax_credit_amounts": [], "total_taxes": [],
        "webhooks_delivered_at": now,
    })
}

/// Makes a draft final. What is left to pay waits for a payment, which may already have been made; nothing to pay is
/// paid at once.
pub(crate) fn finalize(world: &mut World, id: &str, payment: Option<&str>) -> Result<(), ApiError> {
    let mut invoice = world.require("invoice", id, "invoice")?.clone();
    if invoice.text("status") != "draft" {
        return Err(ApiError::invalid(
            "This invoice is already finalized, you can't re-finalize a non-draft invoice.",
        )
        .code("invoice_not_editable"));
    }
    let now = world.now();
    // A payment that was already made was for the whole.
    if payment.is_none() {
        apply_balance(world, &mut invoice);
    }
    let number = next_number(world, invoice.text("customer"));
    let url = format!("{}/invoices/{id}", world.public_url());
    let members = json!({
        "automatically_finalizes_at": null, "effective_at": now, "hosted_invoice_url": url,
        "invoice_pdf": format!("{url}/pdf"), "next_payment_attempt": null, "number": number, "status": "open",
    });
    copy_all(&mut invoice, &members);
    invoice.set("status_transitions/finalized_at", now);
    let due = invoice.int("amount_due");
    let intent = match payment {
        Some(intent) => Some(intent.to_owned()),
        None if due > 0 => Some(request_payment(world, &invoice)),
        None => None,
    };
    if let Some(intent) = &intent {
        invoice.set("_payment_intent", intent.as_str());
        let payment = add_payment(world, &invoice, intent);
        invoice.set("_payment", payment);
    }
    world.announce("invoice.finalized", invoice);
    if due == 0 {
        collection::mark_paid(world, id);
    }
    Ok(())
}

/// Uses a credit balance, or adds to it when the invoice is a credit.
fn apply_balance(world: &mut World, invoice: &mut Value) {
    let Some(mut customer) = world.object(invoice.text("customer")).cloned() else {
        return;
    };
    let (balance, total) = (customer.int("balance"), invoice.int("total"));
    let due = (total + balance).max(0);
    let ending = if total + balance < 0 {
        total + balance
    } else {
        0
    };
    invoice.set("starting_balance", balance);
    invoice.set("ending_balance", ending);
    invoice.set("amount_due", due);
    invoice.set("amount_remaining", due);
    if ending != balance {
        customer.set("balance", ending);
        world.update("customer.updated", customer);
    }
}

fn next_number(world: &mut World, customer: &str) -> String {
    let Some(mut customer) = world.object(customer).cloned() else {
        return "DELETED-0001".to_owned();
    };
    let number = customer.int("next_invoice_sequence").max(1);
    customer.set("next_invoice_sequence", number + 1);
    let text = format!("{}-{number:04}", customer.text("invoice_prefix"));
    world.put(customer);
    text
}

fn request_payment(world: &mut World, invoice: &Value) -> String {
    let mut intent =
        payment_intents::blank(world, invoice.int("amount_due"), invoice.text("currency"));
    let first = invoice.text("billing_reason") == "subscription_create";
    intent.set("customer", invoice.text("customer"));
    intent.set(
        "description",
        if first {
            "Subscription creation"
        } else {
            "Subscription update"
        },
    );
    intent.set(
        "setup_future_usage",
        if first {
            json!("off_session")
        } else {
            Value::Null
        },
    );
    intent.set("_invoice", invoice.text("id"));
    let id = intent.text("id").to_owned();
    world.announce("payment_intent.created", intent);
    id
}

fn add_payment(world: &mut World, invoice: &Value, intent: &str) -> String {
    let id = world.id("inpay_1");
    world.put(json!({
        "id": id, "object": "invoice_payment", "amount_paid": null,
        "amount_requested": invoice.int("amount_due"), "created": world.now(), "currency": invoice.text("currency"),
        "invoice": invoice.text("id"), "is_default": true, "livemode": false,
        "payment": { "payment_intent": intent, "type": "payment_intent" }, "status": "open",
        "status_transitions": { "canceled_at": null, "paid_at": null },
    }));
    id
}

/// Lines of the items that wait for a subscription's or a customer's next invoice, oldest first.
pub(crate) fn pending_lines(
    world: &World,
    customer: &str,
    subscription: Option<&str>,
    currency: &str,
) -> Vec<Value> {
    let items = world.list("invoiceitem").into_iter().rev().filter(|item| {
        item.text("customer") == customer
            && !item.is_set("invoice")
            && item.text("currency") == currency
            && (!item.is_set("parent")
                || Some(item.text("parent/subscription_details/subscription")) == subscription)
    });
    items
        .map(|item| invoice_lines::of_pending(world, item))
        .collect()
}
