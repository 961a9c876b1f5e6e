//! Charges: the attempts of payments. <https://docs.stripe.com/api/charges>

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{Route, balance, cards, lists};
use crate::world::World;

pub(crate) fn route(world: &World, route: Route, id: &str, p: &Value) -> Result<Value, ApiError> {
    if route.1 != "charges" {
        return world.require("charge", id, "charge").cloned();
    }
    let all = world.list("charge").into_iter().filter(|charge| {
        lists::matches(charge, p, &["customer", "payment_intent"])
            && lists::within(charge.int("created"), p.at("created"))
    });
    lists::page(&all.collect::<Vec<_>>(), p, "/v1/charges")
}

/// Books one attempt and announces how it went; answers the charge's id.
pub(crate) fn attempt(
    world: &mut World,
    intent: &Value,
    method: &Value,
    failure: Option<&ApiError>,
) -> String {
    let id = world.id("ch_3");
    let amount = intent.int("amount");
    let mut charge = json!({
        "id": id, "object": "charge", "amount": amount, "amount_captured": 0, "amount_refunded": 0,
        "application": null, "application_fee": null, "application_fee_amount": null, "balance_transaction": null,
        "billing_details": method.at("billing_details"), "calculated_statement_descriptor": "SANDBOX",
        "captured": failure.is_none(), "created": world.now(), "currency": intent.text("currency"),
        "customer": intent.at("customer"), "description": intent.at("description"), "disputed": false,
        "failure_balance_transaction": null, "failure_code": failure.and_then(|error| error.code.clone()),
        "failure_message": failure.map(|error| error.message.clone()), "fraud_details": {}, "livemode": false,
        "metadata": intent.at("metadata"), "on_behalf_of": null, "outcome": outcome(failure),
        "paid": failure.is_none(), "payment_intent": intent.text("id"), "payment_method": method.text("id"),
        "payment_method_details": details(method, amount), "receipt_email": intent.at("receipt_email"),
        "receipt_number": null, "receipt_url": null, "refunded": false, "review": null, "shipping": null,
        "source_transfer": null, "statement_descriptor": null, "statement_descriptor_suffix": null,
        "status": if failure.is_none() { "succeeded" } else { "failed" }, "transfer_data": null,
        "transfer_group": null,
    });
    if cards::test_card(method.text("_number"))
        .settles_after
        .is_some()
    {
        charge.set("paid", false);
        charge.set("status", "pending");
        world.announce("charge.pending", charge);
        return id;
    }
    if failure.is_none() {
        charge.set("amount_captured", amount);
        charge.set(
            "receipt_url",
            format!("{}/receipts/{id}", world.public_url()),
        );
        let transaction = balance::book(
            world,
            "charge",
            "charge",
            &charge,
            amount,
            balance::card_fee(amount),
        );
        charge.set("balance_transaction", transaction);
    }
    world.announce(
        if failure.is_none() {
            "charge.succeeded"
        } else {
            "charge.failed"
        },
        charge,
    );
    id
}

/// A pending debit succeeds or fails.
pub(crate) fn settle(world: &mut World, id: &str, failure: Option<&ApiError>) {
    let Some(mut charge) = world.object(id).cloned() else {
        return;
    };
    charge.set("outcome", outcome(failure));
    if let Some(error) = failure {
        charge.set("captured", false);
        charge.set("failure_code", json!(error.code));
        charge.set("failure_message", error.message.as_str());
        charge.set("status", "failed");
        world.announce("charge.failed", charge);
        return;
    }
    let amount = charge.int("amount");
    charge.set("amount_captured", amount);
    charge.set("paid", true);
    charge.set(
        "receipt_url",
        format!("{}/receipts/{id}", world.public_url()),
    );
    charge.set("status", "succeeded");
    let transaction = balance::book(
        world,
        "charge",
        "charge",
        &charge,
        amount,
        balance::card_fee(amount),
    );
    charge.set("balance_transaction", transaction);
    world.announce("charge.succeeded", charge);
}

fn outcome(failure: Option<&ApiError>) -> Value {
    let reason = failure.and_then(|error| error.decline_code.as_ref().or(error.code.as_ref()));
    json!({
        "advice_code": if failure.is_some() { json!("try_again_later") } else { Value::Null },
        "network_advice_code": null, "network_decline_code": null,
        "network_status": if failure.is_some() { "declined_by_network" } else { "approved_by_network" },
        "reason": reason, "risk_level": "normal", "risk_score": 20,
        "seller_message": if failure.is_some() {
            "The bank did not return any further details with this decline."
        } else {
            "Payment complete."
        },
        "type": if failure.is_some() { "issuer_declined" } else { "authorized" },
    })
}

fn details(method: &Value, amount: i64) -> Value {
    if method.text("type") == "sepa_debit" {
        let debit = method.at("sepa_debit");
        return json!({
            "type": "sepa_debit",
            "sepa_debit": {
                "bank_code": debit.at("bank_code"), "branch_code": debit.at("branch_code"),
                "country": debit.at("country"), "fingerprint": debit.at("fingerprint"),
                "last4": debit.at("last4"), "mandate": null,
            },
        });
    }
    let card = method.at("card");
    json!({
        "type": "card",
        "card": {
            "amount_authorized": amount, "authorization_code": null, "brand": card.at("brand"),
            "checks": card.at("checks"), "country": card.at("country"), "exp_month": card.at("exp_month"),
            "exp_year": card.at("exp_year"), "extended_authorization": { "status": "disabled" },
            "fingerprint": card.at("fingerprint"), "funding": card.at("funding"),
            "incremental_authorization": { "status": "unavailable" }, "installments": null,
            "last4": card.at("last4"), "mandate": null, "multicapture": { "status": "unavailable" },
            "network": card.at("brand"), "network_token": { "used": false }, "network_transaction_id": null,
            "overcapture": { "maximum_amount_capturable": amount, "status": "unavailable" },
            "regulated_status": "unregulated", "three_d_secure": null, "transaction_link_id": null, "wallet": null,
        },
    })
}
