//! What a caller is told when a request fails: RFC 9457 `application/problem+json` with a stable
//! `code`. <https://www.rfc-editor.org/rfc/rfc9457>
//!
//! The map from a failure to status and code is this file alone. A problem carries what the caller
//! may see; what they may not see is logged where the failure is handled, never put in here.

use lambda_http::{Body, Response};
use serde::Serialize;

use crate::{store, stripe};

/// A failure, in the words that the caller may read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// No access token, or one that is not accepted. The reason is not told.
    #[error("a valid access token is required: send it as `Authorization: Bearer …`")]
    Unauthenticated,
    /// The caller is known but may not do this.
    #[error("this needs a permission that the access token does not carry")]
    Forbidden,
    /// The request cannot be understood or is not allowed; says which field and why.
    #[error("{field}: {why}")]
    InvalidRequest {
        /// The body's field, or `body` for the whole.
        field: String,
        /// What is wrong with it and what is expected.
        why: String,
    },
    /// The signature of a webhook is missing, wrong, or too old.
    #[error("the Stripe-Signature header does not fit the body")]
    InvalidSignature,
    /// There is nothing here.
    #[error("there is nothing at this address")]
    NotFound,
    /// The user has a live subscription; a change goes through the Portal.
    #[error("this user has a subscription already: change it in the customer portal")]
    AlreadySubscribed,
    /// The user has never been a Stripe customer.
    #[error("this user is no customer yet: start a Checkout first")]
    NoCustomer,
    /// The body is longer than the function reads.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// The most bytes that are read.
        limit: usize,
    },
    /// Stripe refused or did not answer.
    #[error("Stripe could not do this now: try again in a moment")]
    StripeUnavailable,
    /// Our own store is in trouble or too busy; nothing was done, or what was done will be found.
    #[error("this could not be done now: try again in a moment")]
    TryAgain,
}

/// How long a caller waits after `try_again`.
const RETRY_AFTER_SECONDS: u32 = 1;

/// The longest body a billing request may have.
pub const BODY_LIMIT_BYTES: usize = 16 << 10;

impl Problem {
    /// A field of the request that cannot be used.
    pub fn invalid(field: &str, why: impl Into<String>) -> Self {
        Self::InvalidRequest {
            field: field.to_owned(),
            why: why.into(),
        }
    }

    /// Code, HTTP status, and title.
    fn rule(&self) -> (&'static str, u16, &'static str) {
        match self {
            Self::Unauthenticated => ("unauthenticated", 401, "Not signed in"),
            Self::Forbidden => ("forbidden", 403, "Not allowed"),
            Self::InvalidRequest { .. } => ("invalid_request", 400, "Invalid request"),
            Self::InvalidSignature => ("invalid_signature", 400, "Invalid signature"),
            Self::NotFound => ("not_found", 404, "Not found"),
            Self::AlreadySubscribed => ("already_subscribed", 409, "Already subscribed"),
            Self::NoCustomer => ("no_customer", 409, "No customer"),
            Self::TooLarge { .. } => ("too_large", 413, "Body too large"),
            Self::StripeUnavailable => ("stripe_unavailable", 502, "Stripe unavailable"),
            Self::TryAgain => ("try_again", 503, "Try again"),
        }
    }

    /// The stable code that a program tells problems apart by.
    pub fn code(&self) -> &'static str {
        self.rule().0
    }

    /// The response that carries the problem.
    pub fn into_response(self) -> Response<Body> {
        let (code, status, title) = self.rule();
        let field = match &self {
            Self::InvalidRequest { field, .. } => Some(field.as_str()),
            Self::Unauthenticated
            | Self::Forbidden
            | Self::InvalidSignature
            | Self::NotFound
            | Self::AlreadySubscribed
            | Self::NoCustomer
            | Self::TooLarge { .. }
            | Self::StripeUnavailable
            | Self::TryAgain => None,
        };
        let document = Document {
            r#type: "about:blank",
            title,
            status,
            code,
            detail: self.to_string(),
            field,
        };
        let mut response = Response::new(Body::from(
            serde_json::to_string(&document).unwrap_or_default(),
        ));
        *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(
            "content-type",
            http::HeaderValue::from_static("application/problem+json"),
        );
        headers.insert("cache-control", http::HeaderValue::from_static("no-store"));
        match self {
            Self::Unauthenticated => {
                headers.insert("www-authenticate", http::HeaderValue::from_static("Bearer"));
            }
            Self::TryAgain => {
                headers.insert("retry-after", http::HeaderValue::from(RETRY_AFTER_SECONDS));
            }
            Self::Forbidden
            | Self::InvalidRequest { .. }
            | Self::InvalidSignature
            | Self::NotFound
            | Self::AlreadySubscribed
            | Self::NoCustomer
            | Self::TooLarge { .. }
            | Self::StripeUnavailable => {}
        }
        response
    }
}

/// The table in trouble is a reason to try again; the details are for the log.
impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        tracing::error!(%error, "the table could not be used");
        Self::TryAgain
    }
}

/// What Stripe said is for the log; the caller learns that it was Stripe.
impl From<stripe::Error> for Problem {
    fn from(error: stripe::Error) -> Self {
        tracing::error!(%error, "Stripe could not be used");
        Self::StripeUnavailable
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_status_code_field_and_reason() {
        let response = Problem::invalid("plan", "no such plan").into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({
                "type": "about:blank", "title": "Invalid request", "status": 400,
                "code": "invalid_request", "detail": "plan: no such plan", "field": "plan",
            })
        );
    }

    #[test]
    fn try_again_says_when() {
        let response = Problem::TryAgain.into_response();
        assert_eq!(
            (
                response.status().as_u16(),
                &response.headers()["retry-after"]
            ),
            (503, &"1".parse().unwrap())
        );
    }
}
