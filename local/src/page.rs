//! The small page at the gateway's root: sign in as a made-up user, subscribe, manage.
//!
//! It uses only the public API, as a frontend does, and one endpoint of its own that gives tokens for
//! made-up users. It is not part of a deployment.

use axum::Router;
use axum::extract::{Json, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header;

use crate::issuer::{Issuer, TokenRequest, routes};

/// Nothing but the page's own files, and Checkout by navigation.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The page, its files and the demo sign-in.
pub fn router(issuer: Issuer) -> Router {
    Router::new()
        .route(
            "/",
            get(|| async {
                file(
                    "text/html; charset=utf-8",
                    include_str!("../pages/index.html"),
                )
            }),
        )
        .route(
            "/local/page.css",
            get(|| async { file("text/css; charset=utf-8", include_str!("../pages/page.css")) }),
        )
        .route(
            "/local/page.js",
            get(|| async {
                file(
                    "text/javascript; charset=utf-8",
                    include_str!("../pages/page.js"),
                )
            }),
        )
        .route("/local/sign-in", post(sign_in))
        .with_state(issuer)
}

fn file(content_type: &'static str, contents: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, contents).into_response()
}

async fn sign_in(State(issuer): State<Issuer>, Json(request): Json<TokenRequest>) -> Response {
    routes::answer(issuer.token(&request))
}
