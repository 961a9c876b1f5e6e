//! Stripe's error object: <https://docs.stripe.com/api/errors>.
//!
//! Every refusal of the sandbox is one of these; `api` turns it into a response.

use serde_json::{Map, Value, json};

/// A refusal in Stripe's words.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    /// HTTP status.
    pub status: u16,
    /// Stripe's `type`, e.g. `invalid_request_error` or `card_error`.
    pub kind: &'static str,
    /// Stripe's `code`.
    pub code: Option<Box<str>>,
    /// The issuer's reason, for a `card_error`.
    pub decline_code: Option<Box<str>>,
    /// The parameter that was wrong.
    pub param: Option<Box<str>>,
    /// A sentence for developers.
    pub message: String,
    /// More members of the error object: `charge`, `payment_intent`, `payment_method`.
    pub extra: Map<String, Value>,
}

impl ApiError {
    /// A 400 without a code.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self {
            status: 400,
            kind: "invalid_request_error",
            code: None,
            decline_code: None,
            param: None,
            message: message.into(),
            extra: Map::new(),
        }
    }

    /// A 404 `resource_missing`; `noun` is e.g. `customer`.
    pub fn missing(noun: &str, id: &str, param: &str) -> Self {
        Self {
            status: 404,
            ..Self::invalid(format!("No such {noun}: '{id}'"))
        }
        .code("resource_missing")
        .param(param)
    }

    /// A 402 `card_error`.
    pub fn card(code: &str, decline_code: Option<&str>, message: &str) -> Self {
        Self {
            status: 402,
            kind: "card_error",
            decline_code: decline_code.map(Into::into),
            ..Self::invalid(message)
        }
        .code(code)
    }

    /// The same error with a code.
    #[must_use]
    pub fn code(mut self, code: &str) -> Self {
        self.code = Some(code.into());
        self
    }

    /// The same error naming a parameter.
    #[must_use]
    pub fn param(mut self, param: &str) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The same error with another member of the error object.
    #[must_use]
    pub fn with(mut self, name: &str, value: Value) -> Self {
        self.extra.insert(name.to_owned(), value);
        self
    }

    /// The response body.
    pub fn to_json(&self, request_id: &str) -> Value {
        let mut error = Map::new();
        if let Some(code) = &self.code {
            error.insert("code".into(), json!(code));
            if let Some(decline_code) = &self.decline_code {
                error.insert("decline_code".into(), json!(decline_code));
            }
            error.insert(
                "doc_url".into(),
                json!(format!(
                    "https://stripe.com/docs/error-codes/{}",
                    code.replace('_', "-")
                )),
            );
        }
        error.insert("message".into(), json!(self.message));
        if let Some(param) = &self.param {
            error.insert("param".into(), json!(param));
        }
        error.insert(
            "request_log_url".into(),
            json!(format!(
                "https://dashboard.stripe.com/test/logs/{request_id}?t=0"
            )),
        );
        error.insert("type".into(), json!(self.kind));
        error.extend(self.extra.clone());
        json!({ "error": error })
    }
}
