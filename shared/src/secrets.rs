//! Where a function's secrets come from: plain variables on one machine, AWS Secrets Manager when
//! deployed (`SECRETS_ARN` in place of the plain ones).
//!
//! Fetched at the first need, cached, and read again at a bounded rate when a signature does not match,
//! so that a rolled secret needs no restart. Of several ARNs only so many are read, in their order, as it
//! takes to find the member that is needed. Values are never logged.

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
        /// One behind each ARN.
        stored: Mutex<Vec<Stored>>,
        /// The mode that Stripe's key must be of, for a function that uses it.
        livemode: Option<bool>,
    },
}

/// A secret of Secrets Manager, and what was in it when it was last read.
#[derive(Debug)]
struct Stored {
    arn: String,
    read: Option<Read>,
    /// To be read again at the next need.
    is_stale: bool,
}

impl Stored {
    fn new(arn: String) -> Self {
        Self {
            arn,
            read: None,
            is_stale: false,
        }
    }

    /// Reads it if that is due. A secret that is known goes on being used while it cannot be read again:
    /// one bad signature at the wrong moment must not cost the good ones.
    async fn ensure_read(
        &mut self,
        client: &aws_sdk_secretsmanager::Client,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        if self.read.is_some() && !self.is_stale {
            return Ok(());
        }
        self.is_stale = false;
        match (fetch(client, &self.arn).await, &mut self.read) {
            (Ok(values), read) => *read = Some(Read { at: now, values }),
            (Err(error), Some(known)) => {
                tracing::warn!(%error, "a secret could not be read again");
                known.at = now;
            }
            (Err(error), None) => return Err(error),
        }
        Ok(())
    }
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
    /// The secret is there but lacks the member, or it is blank.
    #[error("{0} is missing from the secrets behind SECRETS_ARN, or is blank")]
    Missing(&'static str),
    /// The member is there and cannot be right.
    #[error("{name} in the secrets behind SECRETS_ARN is not usable: {why}")]
    Unusable {
        /// Name of the member.
        name: &'static str,
        /// What is expected instead.
        why: &'static str,
    },
}

impl Secrets {
    /// Takes the secrets named in `needed` from the environment, or prepares to fetch them.
    pub fn new(
        environment: &Environment,
        http: &HttpClient,
        needed: &[&'static str],
    ) -> Result<Self, Error> {
        let livemode = if needed.contains(&STRIPE_SECRET_KEY) {
            Some(environment.livemode()?)
        } else {
            None
        };
        if environment.get("SECRETS_ARN").is_some() {
            let arns = environment.require_list("SECRETS_ARN")?.into_iter();
            let stored = arns.map(Stored::new).collect();
            return Ok(Self(Source::Manager {
                client: crate::aws::secrets_manager(environment, http)?,
                stored: Mutex::new(stored),
                livemode,
            }));
        }
        let mut values = HashMap::new();
        for name in needed {
            let value = environment.require(name)?;
            check(name, value, livemode).map_err(|why| Error::Invalid { name, why })?;
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
        let listed = listed.expose_secret().split(',');
        Ok(listed.filter_map(SigningSecret::new).collect())
    }

    /// Whether `shown` is one of the internal secrets; compared in constant time.
    pub async fn is_internal(&self, shown: &str, now: Timestamp) -> Result<bool, Unavailable> {
        let listed = self.get(INTERNAL_SECRET, now).await?;
        let secrets = internal_secrets(listed.expose_secret()).unwrap_or_default();
        let hash = |text: &str| digest::digest(&digest::SHA256, text.as_bytes());
        let shown = hash(shown);
        // Every secret is compared, so that the time does not tell which one is close.
        let matches = secrets.into_iter().filter(|secret| {
            verify_slices_are_equal(hash(secret).as_ref(), shown.as_ref()).is_ok()
        });
        Ok(matches.count() > 0)
    }

    /// Has what was read read again at the next need, unless that was just now; true when it may differ
    /// then.
    pub async fn doubt(&self, now: Timestamp) -> bool {
        let Source::Manager { stored, .. } = &self.0 else {
            return false;
        };
        let mut doubted = false;
        for secret in stored.lock().await.iter_mut() {
            let is_old = |read: &Read| now.duration_since(read.at) >= REREAD_INTERVAL;
            if secret.read.as_ref().is_some_and(is_old) {
                secret.is_stale = true;
                doubted = true;
            }
        }
        doubted
    }

    async fn get(&self, name: &'static str, now: Timestamp) -> Result<SecretString, Unavailable> {
        let livemode = match &self.0 {
            Source::Plain(values) => {
                return values.get(name).cloned().ok_or(Unavailable::Missing(name));
            }
            Source::Manager { livemode, .. } => *livemode,
        };
        let checked = |value: Option<SecretString>| {
            let value = value.ok_or(Unavailable::Missing(name))?;
            check(name, value.expose_secret(), livemode)
                .map_err(|why| Unavailable::Unusable { name, why })?;
            Ok(value)
        };
        let found = checked(self.find(name, now).await?);
        // What is missing or wrong may have been put right since it was read.
        if found.is_err() && self.doubt(now).await {
            return checked(self.find(name, now).await?);
        }
        found
    }

    /// The member, from what was read of Secrets Manager or is now.
    async fn find(
        &self,
        name: &'static str,
        now: Timestamp,
    ) -> Result<Option<SecretString>, Unavailable> {
        let Source::Manager { client, stored, .. } = &self.0 else {
            return Ok(None);
        };
        // Holding the lock over the call makes parallel callers share it.
        for secret in stored.lock().await.iter_mut() {
            secret.ensure_read(client, now).await?;
            let found = secret.read.as_ref().and_then(|read| read.values.get(name));
            if let Some(value) = found.filter(|value| !value.expose_secret().trim().is_empty()) {
                return Ok(Some(value.clone()));
            }
        }
        Ok(None)
    }
}

fn internal_secrets(listed: &str) -> Option<Vec<&str>> {
    let secrets: Vec<&str> = listed.split(',').map(str::trim).collect();
    let long = secrets
        .iter()
        .all(|secret| secret.len() >= INTERNAL_SECRET_LENGTH_MIN);
    (long && secrets.len() <= INTERNAL_SECRETS_MAX).then_some(secrets)
}

/// Says why a value cannot work. A plain one is checked at start: it must not wait for the first customer.
fn check(name: &'static str, value: &str, livemode: Option<bool>) -> Result<(), &'static str> {
    match name {
        STRIPE_WEBHOOK_SECRET => {
            let mut listed = value.split(',');
            let all = listed.all(|secret| SigningSecret::new(secret).is_some());
            all.then_some(())
                .ok_or("each comma-separated entry is a signing secret, whsec_…")
        }
        INTERNAL_SECRET => internal_secrets(value)
            .map(|_| ())
            .ok_or("it is one secret of 16 characters or more, or two, comma-separated"),
        _ => check_stripe_key(value, livemode),
    }
}

fn check_stripe_key(value: &str, livemode: Option<bool>) -> Result<(), &'static str> {
    let is_live = value.starts_with("sk_live_") || value.starts_with("rk_live_");
    let is_test = value.starts_with("sk_test_") || value.starts_with("rk_test_");
    if !is_live && !is_test {
        return Err("it is a Stripe key: sk_test_…, rk_test_…, sk_live_… or rk_live_…");
    }
    if livemode.is_some_and(|livemode| livemode != is_live) {
        return Err("the key's mode differs from LIVEMODE");
    }
    Ok(())
}

/// A secret is a JSON object of strings.
async fn fetch(
    client: &aws_sdk_secretsmanager::Client,
    arn: &str,
) -> Result<HashMap<String, SecretString>, Unavailable> {
    let answer = client.get_secret_value().secret_id(arn).send().await;
    let answer = answer.map_err(|error| {
        let code = error
            .as_service_error()
            .and_then(|service| service.meta().code())
            .unwrap_or("no answer");
        Unavailable::Manager(code.to_owned())
    })?;
    let members: Option<HashMap<String, String>> = answer
        .secret_string()
        .and_then(|text| serde_json::from_str(text).ok());
    let members =
        members.ok_or_else(|| Unavailable::Manager("not a JSON object of strings".to_owned()))?;
    let values = members.into_iter();
    Ok(values
        .map(|(name, value)| (name, SecretString::from(value)))
        .collect())
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
        assert_eq!(
            secrets(&[mode]).unwrap_err(),
            Error::Missing(STRIPE_SECRET_KEY)
        );
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
