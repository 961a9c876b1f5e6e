//! Money that goes back: refunds and disputes.
//!
//! <https://docs.stripe.com/api/refunds>, <https://docs.stripe.com/api/disputes>

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::{Route, balance, lists, merge_metadata, metadata};
use crate::world::World;

/// Stripe's fee for a dispute.
const DISPUTE_FEE: i64 = 1500;

pub(crate) fn route(
    world: &mut World,
    route: Route,
    id: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    match route {
        ("POST", "refunds") => create(world, p),
        ("GET", "refunds") => list(world, "refund", p, "/v1/refunds"),
        ("GET", "refunds/{refund}") => world.require("refund", id, "refund").cloned(),
        ("POST", "refunds/{refund}") => edit(world, "refund", id, "charge.refund.updated", p),
        ("POST", "disputes/{dispute}") => edit(world, "dispute", id, "charge.dispute.updated", p),
        ("GET", "disputes") => list(world, "dispute", p, "/v1/disputes"),
        ("GET", _) => world.require("dispute", id, "dispute").cloned(),
        _ => {
            world.close_dispute(id, false)?;
            world.require("dispute", id, "dispute").cloned()
        }
    }
}

fn list(world: &World, kind: &str, p: &Value, url: &str) -> Result<Value, ApiError> {
    let all = world.list(kind).into_iter().filter(|item| {
        lists::matches(item, p, &["charge", "payment_intent"])
            && lists::within(item.int("created"), p.at("created"))
    });
    lists::page(&all.collect::<Vec<_>>(), p, url)
}

fn edit(
    world: &mut World,
    kind: &str,
    id: &str,
    event: &str,
    p: &Value,
) -> Result<Value, ApiError> {
    let mut object = world.require(kind, id, kind)?.clone();
    merge_metadata(&mut object, p);
    world.update(event, object.clone());
    Ok(object)
}

fn create(world: &mut World, p: &Value) -> Result<Value, ApiError> {
    let mut charge = refundable(world, p)?;
    let left = charge.int("amount") - charge.int("amount_refunded");
    let amount = p.get("amount").and_then(Value::as_i64).unwrap_or(left);
    if left == 0 {
        return Err(ApiError::invalid(format!(
            "Charge {} has already been refunded.",
            charge.text("id")
        ))
        .code("charge_already_refunded"));
    }
    if amount < 1 {
        return Err(ApiError::invalid("Invalid positive integer")
            .code("parameter_invalid_integer")
            .param("amount"));
    }
    if amount > left {
        return Err(ApiError::invalid(format!(
            "Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"
        ))
        .param("amount"));
    }
    let id = world.id("re_3");
    let mut refund = json!({
        "id": id, "object": "refund", "amount": amount, "balance_transaction": null, "charge": charge.text("id"),
        "created": world.now(), "currency": charge.text("currency"),
        "destination_details": {
            "card": { "reference_status": "pending", "reference_type": "acquirer_reference_number", "type": "refund" },
            "type": "card",
        },
        "metadata": metadata(p), "payment_intent": charge.at("payment_intent"), "reason": p.at("reason"),
        "receipt_number": null, "source_transfer_reversal": null, "status": "succeeded", "transfer_reversal": null,
    });
    let transaction = balance::book(world, "refund", "refund", &refund, -amount, 0);
    refund.set("balance_transaction", transaction);
    charge.set("amount_refunded", charge.int("amount_refunded") + amount);
    charge.set(
        "refunded",
        charge.int("amount_refunded") == charge.int("amount"),
    );
    world.put(refund.clone());
    world.update("charge.refunded", charge);
    world.emit("refund.created", &refund, None);
    Ok(refund)
}

/// The charge that a refund names, itself or by its payment.
fn refundable(world: &World, p: &Value) -> Result<Value, ApiError> {
    let charge = if p.is_set("charge") {
        world.require("charge", p.text("charge"), "charge")?
    } else if p.is_set("payment_intent") {
        let intent = world.require("payment_intent", p.text("payment_intent"), "payment_intent")?;
        if intent.text("status") != "succeeded" {
            return Err(ApiError::invalid(format!(
                "This PaymentIntent ({}) does not have a successful charge to refund.",
                intent.text("id")
            )));
        }
        world.require("charge", intent.text("latest_charge"), "payment_intent")?
    } else {
        return Err(ApiError::invalid(
            "One of the following params should be provided for this request: payment_intent or charge.",
        ));
    };
    if charge.flag("disputed") {
        return Err(ApiError::invalid(format!(
            "Charge {} has been charged back; cannot issue a refund.",
            charge.text("id")
        ))
        .code("charge_disputed"));
    }
    if charge.text("status") != "succeeded" {
        return Err(ApiError::invalid(format!(
            "Charge {} has not succeeded.",
            charge.text("id")
        )));
    }
    Ok(charge.clone())
}

impl World {
    /// Opens the disputes of charges whose card does that.
    pub(crate) fn open_disputes(&mut self) {
        for charge in std::mem::take(&mut self.disputed) {
            if let Some(charge) = self.object(&charge).cloned() {
                open(self, charge);
            }
        }
    }

    /// Ends a dispute, won or lost.
    ///
    /// # Errors
    /// When there is no such open dispute.
    pub fn close_dispute(&mut self, dispute: &str, won: bool) -> Result<(), ApiError> {
        let mut dispute = self.require("dispute", dispute, "dispute")?.clone();
        if matches!(dispute.text("status"), "won" | "lost") {
            return Err(ApiError::invalid("This dispute is already closed."));
        }
        dispute.set("status", if won { "won" } else { "lost" });
        if won {
            let amount = dispute.int("amount");
            let id = balance::book(
                self,
                "adjustment",
                "dispute_reversal",
                &dispute,
                amount,
                -DISPUTE_FEE,
            );
            let mut transactions = dispute.items("balance_transactions").to_vec();
            transactions.extend(self.object(&id).cloned());
            dispute.set("balance_transactions", transactions);
        }
        self.announce("charge.dispute.closed", dispute.clone());
        if won {
            self.emit("charge.dispute.funds_reinstated", &dispute, None);
        }
        Ok(())
    }
}

fn open(world: &mut World, mut charge: Value) {
    let mut dispute = json!({
        "id": world.id("du_1"), "object": "dispute", "amount": charge.int("amount"), "balance_transactions": [],
        "charge": charge.text("id"), "created": world.now(), "currency": charge.text("currency"),
        "enhanced_eligibility_types": [], "evidence": evidence(),
        "evidence_details": {
            "due_by": world.now() + 7 * 86_400, "enhanced_eligibility": {}, "has_evidence": false, "past_due": false,
            "submission_count": 0,
        },
        "is_charge_refundable": false, "livemode": false, "metadata": {},
        "payment_intent": charge.at("payment_intent"),
        "payment_method_details": {
            "card": {
                "brand": charge.text("payment_method_details/card/brand"), "case_type": "chargeback",
                "network": charge.text("payment_method_details/card/network"), "network_reason_code": "10.4",
            },
            "type": "card",
        },
        "reason": "fraudulent", "status": "needs_response",
    });
    let amount = dispute.int("amount");
    let id = balance::book(
        world,
        "adjustment",
        "dispute",
        &dispute,
        -amount,
        DISPUTE_FEE,
    );
    dispute.set(
        "balance_transactions",
        world.object(&id).cloned().into_iter().collect::<Value>(),
    );
    charge.set("disputed", true);
    world.update("charge.updated", charge);
    world.announce("charge.dispute.created", dispute.clone());
    world.emit("charge.dispute.funds_withdrawn", &dispute, None);
}

fn evidence() -> Value {
    let names = [
        "access_activity_log",
        "billing_address",
        "cancellation_policy",
        "cancellation_policy_disclosure",
        "cancellation_rebuttal",
        "customer_communication",
        "customer_email_address",
        "customer_name",
        "customer_purchase_ip",
        "customer_signature",
        "duplicate_charge_documentation",
        "duplicate_charge_explanation",
        "duplicate_charge_id",
        "product_description",
        "receipt",
        "refund_policy",
        "refund_policy_disclosure",
        "refund_refusal_explanation",
        "service_date",
        "service_documentation",
        "shipping_address",
        "shipping_carrier",
        "shipping_date",
        "shipping_documentation",
        "shipping_tracking_number",
        "uncategorized_file",
        "uncategorized_text",
    ];
    let mut evidence: Value = names
        .iter()
        .map(|name| ((*name).to_owned(), Value::Null))
        .collect();
    evidence.set("enhanced_evidence", json!({}));
    evidence
}
