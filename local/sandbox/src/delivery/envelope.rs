//! What goes over the wire: the event in the receiver's API version, and the header that signs it.
//!
//! The scheme is <https://docs.stripe.com/webhooks#verify-manually>; the signed bytes are the body's bytes.

use aws_lc_rs::hmac;
use serde_json::{Value, json};

use crate::World;
use crate::chaos;
use crate::json::{Fields, public};
use crate::versions::{self, Related};

/// The event as text, pretty-printed as Stripe sends it.
pub(crate) fn body(world: &World, event: &Value, api_version: &str, same_second: bool) -> String {
    let mut event = versions::render(event, api_version, &related(world, event, api_version));
    if same_second {
        let created = chaos::shared_second(event.int("created"));
        event.set("created", json!(created));
    }
    format!("{event:#}")
}

/// The value of `Stripe-Signature`.
pub(crate) fn signature(secret: &str, timestamp: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let mut context = hmac::Context::with_key(&key);
    context.update(timestamp.to_string().as_bytes());
    context.update(b".");
    context.update(body.as_bytes());
    format!("t={timestamp},v1={}", hex::encode(context.sign()))
}

/// Looks up what an older shape carries and the newest does not, as it was at the time of the event.
fn related(world: &World, event: &Value, api_version: &str) -> Related {
    if api_version >= "2025-03-31.basil" {
        return Related::default();
    }
    let object = event.at("data/object");
    match object.text("object") {
        "invoice" => of_invoice(world, object),
        "payment_intent" => of_payment(world, object.text("id"), object.text("latest_charge")),
        "charge" => of_payment(world, object.text("payment_intent"), ""),
        _ => Related::default(),
    }
}

fn of_invoice(world: &World, invoice: &Value) -> Related {
    let lines = invoice.items("lines/data").iter();
    let prices = lines.filter_map(|line| world.object(line.text("pricing/price_details/price")));
    let prices = prices.map(|price| (price.text("id").to_owned(), public(price)));
    let prices = prices.collect();
    // A draft has no payment yet, and before the first attempt there is no charge.
    let payment = payment_where(world, "invoice", invoice.text("id"));
    let payment = payment.filter(|_| invoice.text("status") != "draft");
    let payment_intent = payment.map(|payment| payment.text("payment/payment_intent").to_owned());
    let intent = payment_intent.as_deref().and_then(|id| world.object(id));
    let intent = intent.filter(|_| invoice.flag("attempted"));
    let charge = intent.and_then(|intent| world.object(intent.text("latest_charge")));
    Related {
        invoice: None,
        payment_intent,
        charge: charge.map(public),
        prices,
    }
}

fn of_payment(world: &World, payment_intent: &str, charge: &str) -> Related {
    let payment = payment_where(world, "payment/payment_intent", payment_intent);
    Related {
        invoice: payment.map(|payment| payment.text("invoice").to_owned()),
        charge: world.object(charge).map(public),
        ..Related::default()
    }
}

fn payment_where<'world>(world: &'world World, path: &str, id: &str) -> Option<&'world Value> {
    world
        .list("invoice_payment")
        .into_iter()
        .find(|payment| !id.is_empty() && payment.text(path) == id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Clock;

    #[test]
    fn an_older_shape_names_what_was_known_then() {
        let mut world = World::open(None, Clock::default(), String::new()).unwrap();
        world.put(
            json!({"id": "inpay_1", "object": "invoice_payment", "invoice": "in_1",
            "payment": {"type": "payment_intent", "payment_intent": "pi_1"}}),
        );
        world.put(json!({"id": "pi_1", "object": "payment_intent", "latest_charge": "ch_1"}));
        world.put(
            json!({"id": "ch_1", "object": "charge", "payment_intent": "pi_1", "_secret": "x"}),
        );
        let shown = |status: &str, attempted: bool| {
            let invoice = json!({"id": "in_1", "object": "invoice", "status": status, "attempted": attempted});
            let event = json!({"data": {"object": invoice}});
            let event: Value =
                serde_json::from_str(&body(&world, &event, "2024-06-20", false)).unwrap();
            ["payment_intent", "charge"].map(|field| event.at("data/object").text(field).to_owned())
        };
        assert_eq!(shown("draft", false), ["", ""]);
        assert_eq!(shown("open", false), ["pi_1", ""]);
        assert_eq!(shown("paid", true), ["pi_1", "ch_1"]);

        let intent = json!({"id": "pi_1", "object": "payment_intent", "latest_charge": "ch_1"});
        let text = body(
            &world,
            &json!({"data": {"object": intent}}),
            "2020-08-27",
            false,
        );
        assert!(text.contains("\"invoice\": \"in_1\"") && text.contains("\"id\": \"ch_1\""));
        assert!(!text.contains("_secret"));
    }

    #[test]
    fn signatures_are_as_stripe_computes_them() {
        // The same as `printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_test`.
        assert_eq!(
            signature("whsec_test", 1_700_000_000, "{}"),
            "t=1700000000,v1=35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91"
        );
    }
}
