//! `tollgate token`: a token for a made-up user, from the issuer of the `dev` that is running.

use std::path::Path;

use local::client::client;
use local::env_file;
use local::stack::ISSUER_URL;
use serde_json::{Value, json};

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Request {
    /// The made-up user.
    pub user: String,
    /// Whether the user is an admin.
    pub admin: bool,
    /// Lifetime in seconds, the issuer's default if not given.
    pub expires_in: Option<i64>,
}

/// What keeps a token from being given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not known where the issuer is.
    #[error(transparent)]
    EnvFile(#[from] env_file::Error),
    /// The issuer is not reached.
    #[error(
        "nothing answers at {url}: `dev` is not running, or was started with another --env-file"
    )]
    NotRunning {
        /// Where the issuer should be.
        url: String,
    },
    /// The issuer gives no token.
    #[error("the issuer gives no token: {0}")]
    Refused(String),
}

/// A token from the issuer that `env_file` names.
///
/// # Errors
/// When `dev` is not running or refuses the user.
pub async fn token(env_file: &Path, request: &Request) -> Result<String, Error> {
    let url = env_file::read(env_file, ISSUER_URL)?;
    from_issuer(&url, request).await
}

/// A token from the issuer at `url`.
///
/// # Errors
/// When the issuer does not answer or refuses the user.
pub async fn from_issuer(url: &str, request: &Request) -> Result<String, Error> {
    let body =
        json!({"user": request.user, "admin": request.admin, "expires_in": request.expires_in});
    let sent = client()
        .post(format!("{url}/token"))
        .json(&body)
        .send()
        .await;
    let answered = sent.map_err(|_unreachable| Error::NotRunning {
        url: url.to_owned(),
    })?;
    let answer: Value = answered
        .json()
        .await
        .map_err(|error| Error::Refused(error.to_string()))?;
    let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
    text("access_token").ok_or_else(|| {
        Error::Refused(text("error_description").unwrap_or_else(|| "no reason given".into()))
    })
}
