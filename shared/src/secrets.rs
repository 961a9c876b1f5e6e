//! Where a function's secrets come from: plain variables on one machine, AWS Secrets Manager when
//! deployed (`SECRETS_ARN` in place of the plain ones).
//!
//! Fetched at the first need, cached, and read again at a bounded rate when a signature does not match,
//! so that a rolled secret needs no restart. Values are never logged.

use std::collections::HashMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest;
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

/// Name of the secrets that a trusted edge shows, comma-separated: while one is rolled, two are valid.
pub const INTERNAL_SECRET: &str = "INTERNAL_SECRET";

/// The most internal secrets that are valid at once, and the shortest that is taken for one.
const INTERNAL_SECRETS_MAX: usize = 2;
const INTERNAL_SECRET_LENGTH_MIN: usize = 16;

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

    /// Whether `shown` is one of the internal secrets; compared in constant time.
    pub async fn is_internal(&self, shown: &str, now: Timestamp) -> Result<bool, Unavailable> {
        let listed = self.get(INTERNAL_SECRET, now).await?;
        let listed = internal_secrets(listed.expose_secret());
        let secrets = listed.ok_or(Unavailable::Member(INTERNAL_SECRET))?;
        let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
        let shown = hash(shown);
        // Every secret is compared, so that the time does not tell which one is close.
        let matches = secrets.into_iter().filter(|secret| {
            verify_slices_are_equal(hash(secret).as_ref(), shown.as_ref()).is_ok()
        });
        Ok(matches.count() > 0)
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

fn internal_secrets(listed: &str) -> Option<Vec<&str>> {
    let secrets: Vec<&str> = listed.split(',').map(str::trim).collect();
    let long = secrets
        .iter()
        .all(|secret| secret.len() >= INTERNAL_SECRET_LENGTH_MIN);
    (long && secrets.len() <= INTERNAL_SECRETS_MAX).then_some(secrets)
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
    if name == INTERNAL_SECRET && internal_secrets(value).is_none() {
        return Err(Error::Invalid {
            name,
            why: "it is one secret of 16 characters or more, or two, comma-separated",
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

    #[tokio::test]
    async fn two_internal_secrets_are_valid_at_once() {
        let new = |value: &str| {
            let pairs = [(INTERNAL_SECRET.to_owned(), value.to_owned())];
            Secrets::new(
                &pairs.into_iter().collect(),
                &HttpClient::new(),
                &[INTERNAL_SECRET],
            )
        };
        let now = Timestamp::UNIX_EPOCH;
        let (old, fresh) = ("an-old-secret-of-enough", "a-new-secret-of-enough");
        let secrets = new(&format!("{old},{fresh}")).unwrap();
        for (shown, fits) in [
            (old, true),
            (fresh, true),
            ("", false),
            ("an-old-secret", false),
        ] {
            assert_eq!(
                secrets.is_internal(shown, now).await.unwrap(),
                fits,
                "{shown}"
            );
        }
        for bad in [
            "",
            "short",
            &format!("{old},"),
            &format!("{old},{old},{old}"),
        ] {
            assert!(
                new(bad).unwrap_err().to_string().contains(INTERNAL_SECRET),
                "{bad}"
            );
        }
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
