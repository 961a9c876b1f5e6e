//! `/_sandbox`: what tests and demos do to the sandbox that no Stripe API offers.
//!
//! Bodies are JSON and read strictly: an unknown or malformed field is a 400 that names it. What Stripe itself would
//! refuse is answered in Stripe's error shape.

mod body;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Duration;

use self::body::{Body, Refusal};
use crate::chaos::Chaos;
use crate::delivery;
use crate::json::{Fields, public};
use crate::{CardInput, PayOutcome, Sandbox, WebhookTarget, World};

const SETTLE_MS: u64 = 10_000;
const SETTLE_LIMIT_MS: u64 = 300_000;

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/_sandbox", get(index))
        .route("/_sandbox/checkout/sessions/{id}/pay", post(pay))
        .route("/_sandbox/checkout/sessions/{id}/expire", post(expire))
        .route("/_sandbox/clock", get(clock))
        .route("/_sandbox/clock/advance", post(advance))
        .route("/_sandbox/customers/{id}/default-card", post(default_card))
        .route("/_sandbox/disputes/{id}/close", post(close_dispute))
        .route("/_sandbox/chaos", post(set_chaos))
        .route("/_sandbox/deliver", post(deliver))
        .route("/_sandbox/deliveries", get(deliveries))
        .route("/_sandbox/settle", post(settle))
        .route("/_sandbox/webhook", get(webhook).post(set_webhook))
        .route("/_sandbox/rate_limit", post(rate_limit))
}

async fn index() -> Json<Value> {
    Json(json!({ "calls": [
        "POST /_sandbox/checkout/sessions/{cs}/pay {\"card\": \"4242424242424242\", \"authenticated\"?: true}",
        "POST /_sandbox/checkout/sessions/{cs}/expire",
        "GET  /_sandbox/clock",
        "POST /_sandbox/clock/advance {\"seconds\": 2592000}",
        "POST /_sandbox/customers/{cus}/default-card {\"card\": \"4000000000000341\"}",
        "POST /_sandbox/disputes/{dp}/close {\"won\": true}",
        "POST /_sandbox/chaos {\"seed\"?, \"duplicate\"?, \"reorder\"?, \"drop\"?, \"delay_ms\"?, \"same_second\"?, \"api_version\"?}",
        "POST /_sandbox/deliver {\"event\": \"evt_…\"}",
        "GET  /_sandbox/deliveries ?pending=true ?event=evt_… ?type=invoice.paid",
        "POST /_sandbox/settle {\"timeout_ms\"?: 10000}",
        "GET  /_sandbox/webhook",
        "POST /_sandbox/webhook {\"enabled\"?: false, \"url\"?, \"secret\"?}",
        "POST /_sandbox/rate_limit {\"per_second\": 25}",
    ] }))
}

async fn pay(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    mut body: Body,
) -> Result<Response, Refusal> {
    let card = body.card()?;
    body.done()?;
    let mut world = sandbox.world();
    match world.pay_checkout(&id, &card)? {
        PayOutcome::Complete => Ok(Json(shown(&world, &id)).into_response()),
        PayOutcome::RequiresAction => Ok(requires_action()),
    }
}

/// Stripe's page would show the issuer's challenge here.
fn requires_action() -> Response {
    let error = json!({
        "type": "card_error",
        "code": "requires_action",
        "message": "This card asks for 3-D Secure, and nothing was charged yet. Send the same request with \
                    \"authenticated\": true to pass the challenge, or false to fail it.",
        "param": "authenticated",
    });
    (
        StatusCode::PAYMENT_REQUIRED,
        Json(json!({ "error": error })),
    )
        .into_response()
}

async fn expire(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Value>, Refusal> {
    body.done()?;
    let mut world = sandbox.world();
    world.expire_checkout(&id)?;
    Ok(Json(shown(&world, &id)))
}

async fn clock(State(sandbox): State<Sandbox>) -> Json<Value> {
    let clock = sandbox.clock();
    Json(json!({ "now": clock.now(), "ahead_seconds": clock.offset() }))
}

async fn advance(State(sandbox): State<Sandbox>, mut body: Body) -> Result<Json<Value>, Refusal> {
    let seconds = body.required("seconds", Body::integer)?;
    body.done()?;
    let mut world = sandbox.world();
    let before = world.newest_event();
    world.advance(seconds)?;
    let events = world.events_after(before);
    let events = events
        .iter()
        .map(|(_, event)| json!({ "id": event.text("id"), "type": event.text("type") }));
    Ok(Json(
        json!({ "now": world.now(), "events": events.collect::<Vec<_>>() }),
    ))
}

async fn default_card(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    mut body: Body,
) -> Result<Json<Value>, Refusal> {
    let card = body.card()?;
    body.done()?;
    let payment_method = sandbox.world().set_default_card(&id, &card)?;
    Ok(Json(
        json!({ "customer": id, "payment_method": payment_method }),
    ))
}

async fn close_dispute(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    mut body: Body,
) -> Result<Json<Value>, Refusal> {
    let won = body.required("won", Body::boolean)?;
    body.done()?;
    let mut world = sandbox.world();
    world.close_dispute(&id, won)?;
    Ok(Json(shown(&world, &id)))
}

async fn set_chaos(State(sandbox): State<Sandbox>, body: Body) -> Result<Json<Value>, Refusal> {
    let chaos = Chaos::parse(&body.into_map()).map_err(Refusal::Malformed)?;
    let on = chaos.is_some();
    sandbox.deliveries().set_chaos(chaos);
    Ok(Json(json!({ "chaos": on })))
}

async fn deliver(State(sandbox): State<Sandbox>, mut body: Body) -> Result<Json<Value>, Refusal> {
    let event = body.required("event", Body::text)?;
    body.done()?;
    let receivers = delivery::deliver_again(&sandbox, &event, |_| true)
        .ok_or_else(|| Refusal::no_event(&event))?;
    Ok(Json(json!({ "event": event, "receivers": receivers })))
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeliveriesQuery {
    #[serde(default)]
    pending: bool,
    event: Option<String>,
    r#type: Option<String>,
}

async fn deliveries(
    State(sandbox): State<Sandbox>,
    Query(query): Query<DeliveriesQuery>,
) -> Json<Value> {
    let wanted = |entry: &Value| {
        let is = |wish: &Option<String>, field| {
            wish.as_deref().is_none_or(|wish| wish == entry.text(field))
        };
        is(&query.event, "event") && is(&query.r#type, "type")
    };
    let deliveries = sandbox.deliveries();
    let data = if query.pending {
        deliveries.waiting().into_iter().filter(wanted).collect()
    } else {
        deliveries.attempts(wanted)
    };
    Json(json!({ "data": data, "pending": deliveries.pending() }))
}

async fn settle(State(sandbox): State<Sandbox>, mut body: Body) -> Result<Response, Refusal> {
    let timeout = body
        .optional("timeout_ms", Body::integer)?
        .map_or(Ok(SETTLE_MS), u64::try_from);
    let timeout = timeout.ok().filter(|timeout| *timeout <= SETTLE_LIMIT_MS);
    let timeout =
        timeout.ok_or_else(|| Refusal::field("timeout_ms", "must be from 0 to 300000"))?;
    body.done()?;
    let settled = delivery::settle(&sandbox, Duration::from_millis(timeout)).await;
    let deliveries = sandbox.deliveries();
    let answer = json!({ "settled": settled, "pending": deliveries.pending(), "waiting": deliveries.waiting() });
    let status = if settled {
        StatusCode::OK
    } else {
        StatusCode::REQUEST_TIMEOUT
    };
    Ok((status, Json(answer)).into_response())
}

/// Never shows the secret: `stripe listen --print-secret` and `dev` do, to those who ask for it.
async fn webhook(State(sandbox): State<Sandbox>) -> Json<Value> {
    let url = sandbox.webhook().map(|webhook| webhook.url);
    Json(json!({ "url": url, "enabled": delivery::is_enabled(&sandbox) }))
}

async fn set_webhook(
    State(sandbox): State<Sandbox>,
    mut body: Body,
) -> Result<Json<Value>, Refusal> {
    let enabled = body.optional("enabled", Body::boolean)?;
    let url = body.optional("url", Body::text)?;
    let secret = body.optional("secret", Body::text)?;
    body.done()?;
    if url.is_some() || secret.is_some() {
        let current = sandbox.webhook();
        let url = url.or_else(|| current.as_ref().map(|webhook| webhook.url.clone()));
        let url =
            url.ok_or_else(|| Refusal::field("url", "is required, there is no receiver yet"))?;
        let parsed = url::Url::parse(&url)
            .ok()
            .filter(|url| url.scheme() == "http" && url.has_host());
        if parsed.is_none() {
            return Err(Refusal::field("url", "must be an http:// address"));
        }
        let secret = secret
            .or_else(|| current.map(|webhook| webhook.secret))
            .filter(|secret| !secret.is_empty());
        let secret =
            secret.ok_or_else(|| Refusal::field("secret", "is required and must not be empty"))?;
        sandbox.set_webhook(Some(WebhookTarget { url, secret }));
    }
    if let Some(enabled) = enabled {
        delivery::set_enabled(&sandbox, enabled);
    }
    Ok(webhook(State(sandbox)).await)
}

async fn rate_limit(
    State(sandbox): State<Sandbox>,
    mut body: Body,
) -> Result<Json<Value>, Refusal> {
    let per_second = body
        .optional("per_second", Body::integer)?
        .map(u32::try_from)
        .transpose();
    let per_second =
        per_second.map_err(|_| Refusal::field("per_second", "must be a whole number or null"))?;
    body.done()?;
    sandbox.world().set_rate_limit(per_second);
    Ok(Json(json!({ "per_second": per_second })))
}

/// An object as the API shows it.
fn shown(world: &World, id: &str) -> Value {
    world.object(id).map(public).unwrap_or_default()
}

impl Body {
    /// The card of a body, or the IBAN in its place: `card`, and if given `exp_month`, `exp_year`, `cvc` and `authenticated`.
    fn card(&mut self) -> Result<CardInput, Refusal> {
        let number = self.required("card", Body::text)?;
        let number: String = number
            .chars()
            .filter(|sign| !matches!(sign, ' ' | '-'))
            .collect();
        // An IBAN has letters; which numbers are good is the world's to say.
        if number.len() < 12 || !number.bytes().all(|sign| sign.is_ascii_alphanumeric()) {
            let reason = "must be a card number, e.g. 4242424242424242, or the IBAN of a debit";
            return Err(Refusal::field("card", reason));
        }
        let exp_month = self
            .optional("exp_month", Body::integer)?
            .map_or(Ok(0), u8::try_from);
        let exp_year = self
            .optional("exp_year", Body::integer)?
            .map_or(Ok(0), u16::try_from);
        Ok(CardInput {
            number,
            exp_month: exp_month
                .map_err(|_| Refusal::field("exp_month", "must be from 1 to 12"))?,
            exp_year: exp_year.map_err(|_| Refusal::field("exp_year", "must have four digits"))?,
            cvc: self.optional("cvc", Body::text)?.unwrap_or_default(),
            authenticated: self.optional("authenticated", Body::boolean)?,
        })
    }
}
