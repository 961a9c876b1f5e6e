//! The API of invoices, invoice items and invoice payments: <https://docs.stripe.com/api/invoices>.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::invoice_lines::{self, Pending, Period};
use crate::resources::invoices::collection;
use crate::resources::invoices::{self, Draft};
use crate::resources::payment_intents::attempts::Attempt;
use crate::resources::subscription_changes;
use crate::resources::{
    Route, copy, customers, lists, merge_metadata, metadata, payment_methods, prices,
};
use crate::spec::missing;
use crate::world::{PayOutcome, World};

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("GET", "invoices") => list(world, p),
        ("POST", "invoices") => create(world, p),
        ("POST", "invoices/create_preview") => subscription_changes::preview(world, p),
        ("GET", "invoices/{invoice}") => world.require("invoice", id, "invoice").cloned(),
        ("POST", "invoices/{invoice}") => update(world, id, p),
        ("DELETE", "invoices/{invoice}") => delete(world, id),
        ("GET", "invoices/{invoice}/lines") => {
            let invoice = world.require("invoice", id, "invoice")?;
            let lines: Vec<&Value> = invoice.items("lines/data").iter().collect();
            lists::page(&lines, p, &format!("/v1/invoices/{id}/lines"))
        }
        ("POST", "invoices/{invoice}/pay") => pay(world, id, p),
        ("POST", "invoices/{invoice}/finalize") => {
            invoices::finalize(world, id, None)?;
            world.require("invoice", id, "invoice").cloned()
        }
        ("POST", "invoices/{invoice}/send") => {
            if world.require("invoice", id, "invoice")?.text("status") == "draft" {
                invoices::finalize(world, id, None)?;
            }
            let invoice = world.require("invoice", id, "invoice")?.clone();
            world.emit("invoice.sent", &invoice, None);
            Ok(invoice)
        }
        ("POST", "invoices/{invoice}/void") => collection::give_up(world, id, "void"),
        ("POST", "invoices/{invoice}/mark_uncollectible") => {
            collection::give_up(world, id, "uncollectible")
        }
        ("GET", "invoice_payments") => list_payments(world, p),
        ("GET", "invoice_payments/{invoice_payment}") => world
            .require("invoice_payment", id, "invoice_payment")
            .cloned(),
        ("GET", "invoiceitems") => {
            let all = world.list("invoiceitem").into_iter().filter(|item| {
                lists::matches(item, p, &["customer", "invoice"])
                    && (!p.flag("pending") || !item.is_set("invoice"))
            });
            lists::page(&all.collect::<Vec<_>>(), p, "/v1/invoiceitems")
        }
        ("GET", _) => world.require("invoiceitem", id, "invoiceitem").cloned(),
        ("DELETE", _) => {
            let item = world.require("invoiceitem", id, "invoiceitem")?.clone();
            world.emit("invoiceitem.deleted", &item, None);
            world.remove(id);
            Ok(json!({ "id": id, "object": "invoiceitem", "deleted": true }))
        }
        _ => create_item(world, p),
    }
}

fn list(world: &World, p: &Value) -> Result<Value, ApiError> {
    let all = world.list("invoice").into_iter().filter(|invoice| {
        lists::matches(invoice, p, &["customer", "status", "collection_method"])
            && lists::within(invoice.int("created"), p.at("created"))
            && (p.at("subscription").is_null()
                || p.at("subscription") == invoice.at("_subscription"))
    });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/invoices")
}

fn list_payments(world: &World, p: &Value) -> Result<Value, ApiError> {
    let wanted = p.at("payment/payment_intent");
    let all = world.list("invoice_payment").into_iter().filter(|payment| {
        lists::matches(payment, p, &["invoice", "status"])
            && lists::within(payment.int("created"), p.at("created"))
            && (wanted.is_null() || wanted == payment.at("payment/payment_intent"))
    });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/invoice_payments")
}

/// A single invoice of a customer's pending items.
fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    if !p.is_set("customer") {
        return Err(missing("customer"));
    }
    let customer = customers::live(world, p.text("customer"), "customer")?.clone();
    let currency = match (p.text("currency"), customer.text("currency")) {
        ("", "") => "usd",
        ("", own) => own,
        (given, _) => given,
    }
    .to_lowercase();
    let subscription = match p.text("subscription") {
        "" => None,
        id => Some(world.require("subscription", id, "subscription")?.clone()),
    };
    let lines = if p.text("pending_invoice_items_behavior") == "exclude" {
        Vec::new()
    } else {
        let of = subscription
            .as_ref()
            .map(|subscription| subscription.text("id"));
        invoices::pending_lines(world, customer.text("id"), of, &currency)
    };
    let now = world.now();
    let advance = p.flag("auto_advance");
    let id = invoices::create(
        world,
        Draft {
            customer: customer.text("id"),
            currency: &currency,
            subscription: subscription.as_ref(),
            reason: "manual",
            lines,
            period: Period {
                start: now,
                end: now,
            },
            finalizes_at: advance.then_some(now + 3600),
        },
    );
    let mut invoice = world.require("invoice", &id, "invoice")?.clone();
    copy(
        &mut invoice,
        p,
        &[
            "description",
            "footer",
            "default_payment_method",
            "collection_method",
        ],
    );
    if let Some(days) = p.get("days_until_due").and_then(Value::as_i64) {
        invoice.set("due_date", now + days * 86_400);
    }
    merge_metadata(&mut invoice, p);
    world.put(invoice.clone());
    Ok(invoice)
}

pub(crate) fn create_item(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    if !p.is_set("customer") {
        return Err(missing("customer"));
    }
    let customer = customers::live(world, p.text("customer"), "customer")?
        .text("id")
        .to_owned();
    let price = match p.text("pricing/price") {
        "" => None,
        id => Some(world.require("price", id, "pricing[price]")?.clone()),
    };
    let quantity = p.get("quantity").and_then(Value::as_i64).unwrap_or(1);
    let currency = match (&price, p.text("currency")) {
        (Some(price), "") => price.text("currency").to_owned(),
        (None, "") => "usd".to_owned(),
        (_, given) => given.to_lowercase(),
    };
    let unit = price
        .as_ref()
        .and_then(|price| prices::amount_in(price, &currency));
    let amount = unit.map_or_else(|| p.int("amount"), |unit| unit * quantity);
    let now = world.now();
    let pending = Pending {
        customer: &customer,
        currency: &currency,
        amount,
        description: p.text("description"),
        period: Period {
            start: now,
            end: now,
        },
        proration_of: None,
        price: price.as_ref(),
        quantity,
        metadata: metadata(p),
    };
    let item = invoice_lines::add_pending(world, pending);
    // An item for a draft goes there at once.
    if p.is_set("invoice") {
        let mut invoice = world
            .require("invoice", p.text("invoice"), "invoice")?
            .clone();
        let mut lines = invoice.items("lines/data").to_vec();
        lines.push(invoice_lines::of_pending(world, &item));
        let total: i64 = lines.iter().map(|line| line.int("amount")).sum();
        invoice.set("lines/data", lines);
        for name in [
            "amount_due",
            "amount_remaining",
            "subtotal",
            "subtotal_excluding_tax",
            "total",
            "total_excluding_tax",
        ] {
            invoice.set(name, total);
        }
        let mut item = item.clone();
        item.set("invoice", invoice.text("id"));
        world.put(item);
        world.update("invoice.updated", invoice);
    }
    world
        .require("invoiceitem", item.text("id"), "invoiceitem")
        .cloned()
}

fn update(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let mut invoice = world.require("invoice", id, "invoice")?.clone();
    copy(
        &mut invoice,
        p,
        &[
            "description",
            "footer",
            "default_payment_method",
            "auto_advance",
        ],
    );
    merge_metadata(&mut invoice, p);
    world.update("invoice.updated", invoice.clone());
    Ok(invoice)
}

fn delete(world: &mut World, id: &str) -> Result<Value, ApiError> {
    let invoice = world.require("invoice", id, "invoice")?.clone();
    if invoice.text("status") != "draft" {
        return Err(ApiError::invalid("You can only delete draft invoices."));
    }
    world.emit("invoice.deleted", &invoice, None);
    world.remove(id);
    Ok(json!({ "id": id, "object": "invoice", "deleted": true }))
}

fn pay(world: &mut World, id: &str, p: &Value) -> Result<Value, ApiError> {
    let status = world
        .require("invoice", id, "invoice")?
        .text("status")
        .to_owned();
    match status.as_str() {
        "draft" => invoices::finalize(world, id, None)?,
        "open" | "uncollectible" => {}
        "paid" => {
            return Err(ApiError::invalid("Invoice is already paid").code("invoice_already_paid"));
        }
        other => {
            return Err(ApiError::invalid(format!(
                "Invoice has status {other} and cannot be paid."
            )));
        }
    }
    if world.require("invoice", id, "invoice")?.text("status") == "paid" {
        return world.require("invoice", id, "invoice").cloned();
    }
    if p.flag("paid_out_of_band") {
        collection::mark_paid(world, id);
        return world.require("invoice", id, "invoice").cloned();
    }
    let method = match p.text("payment_method") {
        "" => None,
        given => Some(payment_methods::resolve(world, given, "payment_method")?),
    };
    let off_session = p
        .get("off_session")
        .and_then(Value::as_bool)
        .unwrap_or(true);
    match collection::collect(
        world,
        id,
        method,
        Attempt {
            off_session,
            authenticated: None,
        },
        false,
    )? {
        PayOutcome::Complete => world.require("invoice", id, "invoice").cloned(),
        PayOutcome::RequiresAction => Err(ApiError::card(
            "invoice_payment_intent_requires_action",
            None,
            "This payment requires additional user action before it can be completed successfully. Payment can be \
             completed using the PaymentIntent associated with the invoice.",
        )),
    }
}
