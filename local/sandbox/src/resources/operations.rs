//! What people do in the Portal: another plan, an end, another card.
//!
//! The Portal differs from the API in how it writes an end: for a subscription with flexible billing it sets
//! `cancel_at` and leaves `cancel_at_period_end` alone.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;
use crate::resources::payment_intents::attempts::{self, Attempt};
use crate::resources::{customers, payment_methods, setup_intents};
use crate::world::{CardInput, PayOutcome, World};

impl World {
    /// Moves a subscription to another price, with prorations, as the Portal does.
    ///
    /// # Errors
    /// When the subscription or the price is unknown.
    pub fn change_price(&mut self, subscription: &str, price: &str) -> Result<(), ApiError> {
        let item = self
            .require("subscription", subscription, "id")?
            .text("items/data/0/id")
            .to_owned();
        let params = json!({ "items": [{ "id": item, "price": price }], "proration_behavior": "create_prorations" });
        self.call(
            "POST",
            &format!("/v1/subscriptions/{subscription}"),
            &params,
        )
        .map(drop)
    }

    /// Cancels a subscription at the end of its period, or takes that back, as the Portal does.
    ///
    /// # Errors
    /// When the subscription is unknown or already canceled.
    pub fn set_cancel_at_period_end(
        &mut self,
        subscription: &str,
        cancel: bool,
    ) -> Result<(), ApiError> {
        self.tick();
        let found = self.require("subscription", subscription, "id")?;
        let flexible = found.text("billing_mode/type") == "flexible";
        let params = if cancel && flexible {
            json!({ "cancel_at": found.int("items/data/0/current_period_end") })
        } else {
            json!({ "cancel_at_period_end": cancel })
        };
        self.call(
            "POST",
            &format!("/v1/subscriptions/{subscription}"),
            &params,
        )
        .map(drop)
    }

    /// Answers the 3-D Secure challenge of a payment that waits for it, e.g. one confirmed by a page of one's own.
    ///
    /// # Errors
    /// When the payment does not wait for an answer, the challenge was not passed, or the card is declined after it.
    pub fn answer_challenge(
        &mut self,
        payment_intent: &str,
        passed: bool,
    ) -> Result<PayOutcome, ApiError> {
        self.tick();
        let intent = self.require("payment_intent", payment_intent, "intent")?;
        if intent.text("status") != "requires_action" {
            return Err(
                ApiError::invalid("This PaymentIntent does not wait for a challenge.")
                    .code("payment_intent_unexpected_state"),
            );
        }
        let method = intent.text("payment_method").to_owned();
        let how = Attempt {
            off_session: false,
            authenticated: Some(passed),
        };
        attempts::pay(self, payment_intent, &method, how)
    }

    /// Replaces the card that renewals are charged to; answers the payment method's id.
    ///
    /// # Errors
    /// When the customer is unknown or the card cannot be saved.
    pub fn set_default_card(
        &mut self,
        customer: &str,
        card: &CardInput,
    ) -> Result<String, ApiError> {
        self.tick();
        customers::live(self, customer, "customer")?;
        let method = payment_methods::from_card(self, card)?;
        let intent = setup_intents::create(self, &json!({ "customer": customer }));
        // A card that asks its holder is saved as if it had been answered, unless told otherwise.
        let answer = card.authenticated.or(Some(true));
        if setup_intents::save(self, &intent, &method, answer)? == PayOutcome::RequiresAction {
            return Err(ApiError::invalid("The card asks its holder."));
        }
        let mut owner = customers::live(self, customer, "customer")?.clone();
        owner.set("invoice_settings/default_payment_method", method.as_str());
        self.update("customer.updated", owner);
        let subscriptions: Vec<Value> = self
            .list("subscription")
            .into_iter()
            .filter(|subscription| {
                subscription.text("customer") == customer
                    && subscription.is_set("default_payment_method")
                    && !matches!(
                        subscription.text("status"),
                        "canceled" | "incomplete_expired"
                    )
            })
            .cloned()
            .collect();
        for mut subscription in subscriptions {
            subscription.set("default_payment_method", method.as_str());
            self.update("customer.subscription.updated", subscription);
        }
        Ok(method)
    }
}
