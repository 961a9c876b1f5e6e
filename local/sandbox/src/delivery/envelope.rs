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

/// Looks up what an older shape carries and the newest does not.
fn related(world: &World, event: &Value, api_version: &str) -> Related {
    if api_version >= "2025-03-31.basil" {
        return Related::default();
    }
    let object = event.at("data/object");
    let id = object.text("id");
    let payment = match object.text("object") {
        "invoice" => payment_where(world, "invoice", id),
        "payment_intent" => payment_where(world, "payment/payment_intent", id),
        "charge" => payment_where(
            world,
            "payment/payment_intent",
            object.text("payment_intent"),
        ),
        _ => return Related::default(),
    };
    let text = |path: &str| {
        payment
            .map(|payment| payment.text(path).to_owned())
            .filter(|text| !text.is_empty())
    };
    let payment_intent = text("payment/payment_intent");
    let intent = payment_intent
        .as_deref()
        .and_then(|intent| world.object(intent));
    let intent = intent.or_else(|| {
        world
            .object(id)
            .filter(|object| object.text("object") == "payment_intent")
    });
    let lines = object.items("lines/data").iter();
    let prices = lines.filter_map(|line| world.object(line.text("pricing/price_details/price")));
    Related {
        invoice: text("invoice"),
        charge: intent
            .and_then(|intent| world.object(intent.text("latest_charge")))
            .map(public),
        prices: prices
            .map(|price| (price.text("id").to_owned(), public(price)))
            .collect(),
        payment_intent,
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

    #[test]
    fn signatures_are_as_stripe_computes_them() {
        // The same as `printf '1700000000.{}' | openssl dgst -sha256 -hmac whsec_test`.
        assert_eq!(
            signature("whsec_test", 1_700_000_000, "{}"),
            "t=1700000000,v1=35495024f4ef3f94e5a93e22221544c4b75e9a42300cd965ab81cb85cd994e91"
        );
    }
}
