//! The Customer Portal: the subscription, its plan and its end, the card, and the invoices.
//!
//! Every form answers with a redirect to the page itself, so that a reload repeats nothing.

mod view;

use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

use self::view::Portal;
use super::card_form::CardForm;
use super::html::columns;
use crate::json::Fields;
use crate::{ApiError, Sandbox, World};

/// The Portal of one session.
pub(super) async fn show(State(sandbox): State<Sandbox>, Path(key): Path<String>) -> Response {
    answer(&sandbox.world(), &key, StatusCode::OK, None)
}

/// What a form of the page asks for: `change`, `cancel`, `resume` or `card`.
pub(super) async fn act(
    State(sandbox): State<Sandbox>,
    Path((key, action)): Path<(String, String)>,
    Form(form): Form<CardForm>,
) -> Response {
    let mut world = sandbox.world();
    let Some(session) = session(&world, &key).cloned() else {
        return super::not_found("Portal");
    };
    match carry_out(&mut world, &session, &action, &form) {
        Ok(()) => super::see_other(&format!("/p/session/{key}")),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            answer(&world, &key, status, Some(&error.message))
        }
    }
}

fn carry_out(
    world: &mut World,
    session: &Value,
    action: &str,
    form: &CardForm,
) -> Result<(), ApiError> {
    let feature = match action {
        "card" => "payment_method_update",
        "change" => "subscription_update",
        _ => "subscription_cancel",
    };
    if !offers(world, session, feature) {
        return Err(ApiError::invalid("This portal does not offer that."));
    }
    let customer = session.text("customer");
    if action == "card" {
        let card = form.card().map_err(ApiError::invalid)?;
        return world.set_default_card(customer, &card).map(drop);
    }
    // A session acts for its own customer only.
    let subscription = world
        .object(&form.subscription)
        .filter(|subscription| subscription.text("customer") == customer);
    let id = subscription.map(|subscription| subscription.text("id").to_owned());
    let missing = || ApiError::missing("subscription", &form.subscription, "subscription");
    let id = id.ok_or_else(missing)?;
    match action {
        "change" => world.change_price(&id, &form.price),
        "cancel" => world.set_cancel_at_period_end(&id, true),
        "resume" => world.set_cancel_at_period_end(&id, false),
        _ => Err(ApiError::invalid("There is no such action.")),
    }
}

/// Whether the session's configuration has a feature switched on.
fn offers(world: &World, session: &Value, feature: &str) -> bool {
    let configuration = world.object(session.text("configuration"));
    configuration
        .is_none_or(|configuration| configuration.flag(&format!("features/{feature}/enabled")))
}

/// The session that an address leads to: its id and its token.
fn session<'world>(world: &'world World, key: &str) -> Option<&'world Value> {
    let (id, token) = key.rsplit_once('_')?;
    let session = world.object(id)?;
    let is_meant =
        session.text("object") == "billing_portal.session" && session.text("_token") == token;
    is_meant.then_some(session)
}

fn answer(world: &World, key: &str, status: StatusCode, error: Option<&str>) -> Response {
    let Some(session) = session(world, key) else {
        return super::not_found("Portal");
    };
    let portal = Portal {
        world,
        key,
        session,
    };
    let html = columns("Billing", &portal.side(), &portal.main(error));
    super::page(status, html)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Clock, Options};

    fn world() -> World {
        let mut world = World::open(None, Clock::default(), String::new()).unwrap();
        let recurring = json!({"interval": "month", "interval_count": 1});
        let price = json!({"id": "price_1", "object": "price", "active": true, "product": "prod_1", "currency": "usd",
            "unit_amount": 2900, "recurring": recurring});
        let item = json!({"quantity": 2, "current_period_end": 1_797_760_800, "price": price});
        for object in [
            json!({"id": "cus_1", "object": "customer", "email": "<alice>"}),
            json!({"id": "bps_1", "object": "billing_portal.session", "customer": "cus_1",
                "_token": "secret", "return_url": "javascript:alert(1)"}),
            json!({"id": "prod_1", "object": "product", "name": "Pro"}),
            price,
            json!({"id": "sub_1", "object": "subscription", "customer": "cus_1", "status": "active",
                "items": {"data": [item]}}),
            json!({"id": "sub_2", "object": "subscription", "customer": "cus_2", "status": "active",
                "items": {"data": [item]}}),
        ] {
            world.put(object);
        }
        world
    }

    #[test]
    fn it_shows_what_its_customer_has() {
        let world = world();
        let session = session(&world, "bps_1_secret").unwrap();
        let portal = Portal {
            world: &world,
            key: "bps_1_secret",
            session,
        };
        let html = portal.main(Some("No <way>"));
        for part in [
            "Pro",
            "$58.00 per month",
            "Renews on 20 December 2026",
            "cancel-subscription",
            "No &lt;way&gt;",
        ] {
            assert!(html.contains(part), "{part}");
        }
        assert!(!html.contains("sub_2"));
        let side = portal.side();
        assert!(side.contains("&lt;alice&gt;") && !side.contains("javascript:"));
    }

    #[test]
    fn it_acts_for_its_own_customer_only() {
        let form = CardForm {
            subscription: "sub_2".to_owned(),
            ..CardForm::default()
        };
        let mut world = world();
        let session = session(&world, "bps_1_secret").unwrap().clone();
        let error = carry_out(&mut world, &session, "cancel", &form).unwrap_err();
        assert_eq!(error.status, 404);
    }

    #[test]
    fn it_offers_what_its_configuration_says() {
        let mut world = world();
        let off = json!({"enabled": false});
        world.put(json!({"id": "bpc_1", "object": "billing_portal.configuration",
            "features": {"subscription_cancel": off, "subscription_update": off, "invoice_history": off}}));
        let mut session = session(&world, "bps_1_secret").unwrap().clone();
        session.set("configuration", "bpc_1");
        let html = Portal {
            world: &world,
            key: "bps_1_secret",
            session: &session,
        }
        .main(None);
        for part in [
            "cancel-subscription",
            "change-plan",
            "update-card",
            "Invoice history",
        ] {
            assert!(!html.contains(part), "{part}");
        }
        let form = CardForm {
            subscription: "sub_1".to_owned(),
            ..CardForm::default()
        };
        assert_eq!(
            carry_out(&mut world, &session, "cancel", &form)
                .unwrap_err()
                .status,
            400
        );
    }

    #[test]
    fn an_address_needs_the_token() {
        let world = world();
        for key in ["bps_1", "bps_1_", "bps_1_guess", "cus_1_secret"] {
            assert!(session(&world, key).is_none(), "{key}");
        }
    }

    #[tokio::test]
    async fn an_unknown_session_is_not_found() {
        let sandbox = Sandbox::open(Options::default()).unwrap();
        let response = show(State(sandbox), Path("bps_none".to_owned())).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND);
    }
}
