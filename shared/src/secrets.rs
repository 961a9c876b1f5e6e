//! Where a function's secrets come from: plain variables on one machine, AWS Secrets Manager when
//! deployed (`SECRETS_ARN` in place of the plain ones).
//!
//! Fetched at the first need, cached, and read again at a bounded rate when a signature does not match,
//! so that a rolled secret needs no restart. Values are never logged.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;

use crate::config::{Environment, Error};
use crate::http::HttpClient;
use crate::signature::SigningSecret;

/// Name of Stripe's API key.
pub const STRIPE_SECRET_KEY: &str = "STRIPE_SECRET_KEY";
/// Name of the webhook signing secrets, comma-separated: while one is rolled, two are valid.
pub const STRIPE_WEBHOOK_SECRET: &str = "STRIPE_WEBHOOK_SECRET";

/// The least time between two reads of Secrets Manager.
const REREAD_INTERVAL: SignedDuration = SignedDuration::from_secs(30);

/// The secrets of one function.
#[derive(Debug)]
pub struct Secrets(Source);

#[derive(Debug)]
enum Source {
    Plain(HashMap<&'static str, SecretString>),
    Manager {
        client: aws_sdk_secretsmanager::Client,
        arns: Vec<String>,
        cache: Mutex<Option<Read>>,
    },
}

#[derive(Debug)]
struct Read {
    at: Timestamp,
    values: HashMap<String, SecretString>,
}

/// A secret cannot be had. The value is never part of it.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    /// Secrets Manager did not answer or refused.
    #[error("Secrets Manager did not give the secret: {0}")]
    Manager(String),
    /// The secret is there but lacks the member, or it is blank or malformed.
    #[error("{0} is missing from the secret behind SECRETS_ARN, or is not usable")]
    Member(&'static str),
}

impl Secrets {
    /// Takes the secrets named in `needed` from the environment, or prepares to fetch them.
    pub fn new(
        environment: &Environment,
        http: &HttpClient,
        needed: &[&'static str],
    ) -> Result<Self, Error> {
        if environment.get("SECRETS_ARN").is_some() {
            let arns = environment.require_list("SECRETS_ARN")?;
            let client = crate::aws::secrets_manager(environment, http)?;
            return Ok(Self(Source::Manager {
                client,
                arns,
                cache: Mutex::default(),
            }));
        }
        let mut values = HashMap::new();
        for name in needed {
            let value = environment.require(name)?;
            check(name, value, environment)?;
            values.insert(*name, SecretString::from(value));
        }
        Ok(Self(Source::Plain(values)))
    }

    /// Stripe's API key.
    pub async fn stripe_secret_key(&self, now: Timestamp) -> Result<SecretString, Unavailable> {
        self.get(STRIPE_SECRET_KEY, now).await
    }

    /// The secrets that webhooks may be signed with.
    pub async fn signing_secrets(&self, now: Timestamp) -> Result<Vec<SigningSecret>, Unavailable> {
        let listed = self.get(STRIPE_WEBHOOK_SECRET, now).await?;
        let secrets: Option<Vec<SigningSecret>> = listed
            .expose_secret()
            .split(',')
            .map(SigningSecret::new)
            .collect();
        secrets.ok_or(Unavailable::Member(STRIPE_WEBHOOK_SECRET))
    }

    /// Forgets what was fetched, unless that was just now; true when a new read may differ.
    pub async fn forget(&self, now: Timestamp) -> bool {
        match &self.0 {
            Source::Plain(_) => false,
            Source::Manager { cache, .. } => {
                let mut cache = cache.lock().await;
                let old = cache
                    .as_ref()
                    .is_some_and(|read| now.duration_since(read.at) >= REREAD_INTERVAL);
                if old {
                    *cache = None;
                }
                old
            }
        }
    }

    async fn get(&self, name: &'static str, now: Timestamp) -> Result<SecretString, Unavailable> {
        match &self.0 {
            Source::Plain(values) => values.get(name).cloned().ok_or(Unavailable::Member(name)),
            Source::Manager {
                client,
                arns,
                cache,
            } => {
                let mut cache = cache.lock().await;
                if cache.is_none() {
                    *cache = Some(Read {
                        at: now,
                        values: fetch(client, arns).await?,
                    });
                }
                let value = cache
                    .as_ref()
                    .and_then(|read| read.values.get(name))
                    .cloned();
                value
                    .filter(|value| !value.expose_secret().trim().is_empty())
                    .ok_or(Unavailable::Member(name))
            }
        }
    }
}

/// A plain secret is checked at start: one that cannot work must not wait for the first customer.
fn check(name: &'static str, value: &str, environment: &Environment) -> Result<(), Error> {
    if name == STRIPE_WEBHOOK_SECRET
        && value
            .split(',')
            .any(|secret| SigningSecret::new(secret).is_none())
    {
        return Err(Error::Invalid {
            name,
            why: "each comma-separated entry is a signing secret, whsec_…",
        });
    }
    if name == STRIPE_SECRET_KEY {
        let is_live = value.starts_with("sk_live_") || value.starts_with("rk_live_");
        let is_test = value.starts_with("sk_test_") || value.starts_with("rk_test_");
        if !is_live && !is_test {
            return Err(Error::Invalid {
                name,
                why: "it is a Stripe key: sk_test_…, rk_test_…, sk_live_… or rk_live_…",
            });
        }
        if is_live != environment.livemode()? {
            return Err(Error::Invalid {
                name,
                why: "the key's mode differs from LIVEMODE",
            });
        }
    }
    Ok(())
}

/// Each secret is a JSON object of strings; several are merged.
async fn fetch(
    client: &aws_sdk_secretsmanager::Client,
    arns: &[String],
) -> Result<HashMap<String, SecretString>, Unavailable> {
    let mut values = HashMap::new();
    for arn in arns {
        let answer = client
            .get_secret_value()
            .secret_id(arn)
            .send()
            .await
            .map_err(|error| {
                let code = error
                    .as_service_error()
                    .and_then(|service| service.meta().code())
                    .unwrap_or("no answer");
                Unavailable::Manager(code.to_owned())
            })?;
        let members: HashMap<String, String> = answer
            .secret_string()
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| Unavailable::Manager("not a JSON object of strings".to_owned()))?;
        values.extend(
            members
                .into_iter()
                .map(|(name, value)| (name, SecretString::from(value))),
        );
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(pairs: &[(&str, &str)]) -> Result<Secrets, Error> {
        let environment = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Secrets::new(
            &environment,
            &HttpClient::new(),
            &[STRIPE_SECRET_KEY, STRIPE_WEBHOOK_SECRET],
        )
    }

    #[test]
    fn f18_a_missing_or_empty_secret_stops_the_start() {
        let key = ("STRIPE_SECRET_KEY", "sk_test_1");
        let mode = ("LIVEMODE", "false");
        for hook in ["", "  ", ",", "whsec_12345678,"] {
            let error = secrets(&[key, mode, ("STRIPE_WEBHOOK_SECRET", hook)]).unwrap_err();
            assert!(
                error.to_string().contains("STRIPE_WEBHOOK_SECRET"),
                "{hook}: {error}"
            );
        }
        assert_eq!(secrets(&[]).unwrap_err(), Error::Missing(STRIPE_SECRET_KEY));
        assert!(secrets(&[key, mode, ("STRIPE_WEBHOOK_SECRET", "whsec_12345678")]).is_ok());
    }

    #[test]
    fn f20_test_and_live_are_not_mixed() {
        let hook = ("STRIPE_WEBHOOK_SECRET", "whsec_12345678");
        for (key, livemode, fits) in [
            ("sk_test_1", "false", true),
            ("rk_live_1", "true", true),
            ("sk_live_1", "false", false),
            ("sk_test_1", "true", false),
            ("pk_test_1", "false", false),
        ] {
            let made = secrets(&[("STRIPE_SECRET_KEY", key), ("LIVEMODE", livemode), hook]);
            assert_eq!(made.is_ok(), fits, "{key} {livemode}");
        }
    }
}
