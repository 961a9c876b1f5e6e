//! The hosted pages that a customer sees: Checkout and the Customer Portal, as plain HTML forms that need no script.
//!
//! Handlers read forms, ask the world and choose the next page; what pages look like is in the modules below.

mod card_form;
mod checkout;
mod html;
mod portal;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;

use self::card_form::CardForm;
use self::checkout::View;
use crate::{PayOutcome, Sandbox};

pub(crate) fn router() -> Router<Sandbox> {
    Router::new()
        .route("/c/pay/{id}", get(show_checkout).post(pay))
        .route("/p/session/{id}", get(portal::show))
        .route("/p/session/{id}/{action}", axum::routing::post(portal::act))
}

async fn show_checkout(State(sandbox): State<Sandbox>, Path(id): Path<String>) -> Response {
    match View::read(&mut sandbox.world(), &id) {
        Some(view) => page(StatusCode::OK, view.page(&CardForm::default(), None)),
        None => not_found("Checkout"),
    }
}

async fn pay(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    Form(form): Form<CardForm>,
) -> Response {
    let mut world = sandbox.world();
    let Some(view) = View::read(&mut world, &id) else {
        return not_found("Checkout");
    };
    if !view.is_open() {
        return page(StatusCode::OK, view.page(&form, None));
    }
    let card = match form.card() {
        Ok(card) => card,
        Err(message) => return page(StatusCode::BAD_REQUEST, view.page(&form, Some(&message))),
    };
    match world.pay_checkout(&id, &card) {
        Ok(PayOutcome::Complete) => see_other(&view.after_payment()),
        Ok(PayOutcome::RequiresAction) => page(StatusCode::OK, view.challenge(&form)),
        Err(error) => {
            let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::BAD_REQUEST);
            // The session may have changed under this attempt.
            let view = View::read(&mut world, &id).unwrap_or(view);
            page(status, view.page(&form, Some(&error.message)))
        }
    }
}

fn page(status: StatusCode, html: String) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Html(html)).into_response()
}

fn not_found(what: &str) -> Response {
    let body = format!("<h1>Not found</h1><p id=\"message\">There is no such {what} session.</p>");
    page(StatusCode::NOT_FOUND, html::plain("Not found", &body))
}

fn see_other(url: &str) -> Response {
    (StatusCode::SEE_OTHER, [(header::LOCATION, url.to_owned())]).into_response()
}
