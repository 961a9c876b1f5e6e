//! Where a signing secret goes: the member `STRIPE_WEBHOOK_SECRET` of a JSON secret in Secrets Manager.
//!
//! The other members stay, and so do the secrets that are valid already, behind the new one: while an endpoint is
//! replaced, both sign. Nothing of a value is ever part of an error.

use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::error::{ProvideErrorMetadata, SdkError};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};
use shared::aws;
use shared::config::{self, Environment};
use shared::http::HttpClient;
use shared::secrets::STRIPE_WEBHOOK_SECRET;

/// How many signing secrets are kept: the new one, the one that it replaces, and one more in case that an earlier
/// replacement was not finished.
pub(super) const KEPT_MAX: usize = 3;

/// Why a secret cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not the ARN of a secret, or not one that can be reached with these settings.
    #[error("--secret-arn {arn} {why}")]
    Arn {
        /// What was given.
        arn: String,
        /// What is wrong with it.
        why: String,
    },
    /// A variable is missing or not usable.
    #[error(transparent)]
    Configuration(#[from] config::Error),
    /// Secrets Manager refused or did not answer.
    #[error("Secrets Manager does not {what} the secret: {code}")]
    Manager {
        /// What was asked of it.
        what: &'static str,
        /// AWS's error code.
        code: String,
    },
    /// The secret is there, but not as Tollgate reads it.
    #[error(
        "the secret is not a JSON object of strings, such as {{\"STRIPE_WEBHOOK_SECRET\": \"\"}}: correct it first"
    )]
    NotAnObject,
}

/// One JSON secret.
pub(super) struct Vault {
    client: Client,
    arn: String,
}

impl Vault {
    /// Connects to where the ARN says; contacts nobody yet.
    pub(super) fn new(
        arn: &str,
        environment: &Environment,
        http: &HttpClient,
    ) -> Result<Self, Error> {
        let wrong = |why: String| Error::Arn {
            arn: arn.to_owned(),
            why,
        };
        let parts: Vec<&str> = arn.splitn(7, ':').collect();
        let ["arn", _, "secretsmanager", region, _, "secret", _] = parts.as_slice() else {
            return Err(wrong(
                "is no ARN of a secret: give the stack's output WebhookSecretArn".to_owned(),
            ));
        };
        let ours = environment.require("AWS_REGION")?;
        if *region != ours {
            return Err(wrong(format!("is in {region}, but AWS_REGION says {ours}")));
        }
        Ok(Self {
            client: aws::secrets_manager(environment, http)?,
            arn: arn.to_owned(),
        })
    }

    /// How many signing secrets there are. Also shows, before anything is made, that the secret can be read.
    pub(super) async fn count(&self) -> Result<usize, Error> {
        Ok(signing_secrets(&self.read().await?).len())
    }

    /// Puts a signing secret before those that are there.
    pub(super) async fn add(&self, secret: &SecretString) -> Result<(), Error> {
        let mut members = self.read().await?;
        let value = joined(secret.expose_secret(), &signing_secrets(&members));
        members.insert(STRIPE_WEBHOOK_SECRET.to_owned(), Value::String(value));
        let text = Value::Object(members).to_string();
        let put = self
            .client
            .put_secret_value()
            .secret_id(&self.arn)
            .secret_string(text);
        let Err(error) = put.send().await else {
            return Ok(());
        };
        // The answer may have been lost on its way: what is there now decides.
        let written = self.read().await.is_ok_and(|members| {
            signing_secrets(&members)
                .iter()
                .any(|known| known == secret.expose_secret())
        });
        if written {
            Ok(())
        } else {
            Err(refusal("write", &error))
        }
    }

    async fn read(&self) -> Result<Map<String, Value>, Error> {
        let answer = self
            .client
            .get_secret_value()
            .secret_id(&self.arn)
            .send()
            .await;
        let answer = answer.map_err(|error| refusal("give", &error))?;
        let members = answer
            .secret_string()
            .and_then(|text| serde_json::from_str(text).ok());
        let members: Map<String, Value> = members.ok_or(Error::NotAnObject)?;
        if members.values().all(Value::is_string) {
            Ok(members)
        } else {
            Err(Error::NotAnObject)
        }
    }
}

fn refusal<E: ProvideErrorMetadata, R>(what: &'static str, error: &SdkError<E, R>) -> Error {
    let code = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::code);
    Error::Manager {
        what,
        code: code.unwrap_or("no answer").to_owned(),
    }
}

fn signing_secrets(members: &Map<String, Value>) -> Vec<String> {
    let listed = members.get(STRIPE_WEBHOOK_SECRET).and_then(Value::as_str);
    let listed = listed.unwrap_or_default().split(',').map(str::trim);
    listed
        .filter(|secret| !secret.is_empty())
        .map(str::to_owned)
        .collect()
}

fn joined(new: &str, known: &[String]) -> String {
    let known = known
        .iter()
        .map(String::as_str)
        .filter(|secret| *secret != new);
    let kept: Vec<&str> = std::iter::once(new).chain(known).take(KEPT_MAX).collect();
    kept.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_new_secret_comes_first_and_three_are_kept() {
        let known = |listed: &str| {
            let member = (STRIPE_WEBHOOK_SECRET.to_owned(), Value::from(listed));
            signing_secrets(&[member].into_iter().collect())
        };
        for (before, after) in [
            ("", "new"),
            (" , ", "new"),
            ("a", "new,a"),
            ("a, b", "new,a,b"),
            ("a,b,c", "new,a,b"),
            ("a,new", "new,a"),
        ] {
            assert_eq!(joined("new", &known(before)), after, "{before}");
        }
        assert!(signing_secrets(&Map::new()).is_empty());
    }

    #[test]
    fn an_arn_that_cannot_be_meant_is_refused() {
        let variables = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "a"),
            ("AWS_SECRET_ACCESS_KEY", "b"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let environment: Environment = variables.into_iter().collect();
        let made = |arn: &str| {
            let made = Vault::new(arn, &environment, &HttpClient::new());
            made.err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        assert_eq!(
            made("arn:aws:secretsmanager:eu-west-1:1:secret:tollgate-x-AbCdEf"),
            ""
        );
        for bad in [
            "tollgate",
            "",
            "arn:aws:sns:eu-west-1:1:topic",
            "arn:aws:secretsmanager:eu-west-1:1:secret",
        ] {
            assert!(
                made(bad).contains("WebhookSecretArn"),
                "{bad}: {}",
                made(bad)
            );
        }
        let elsewhere = made("arn:aws:secretsmanager:us-east-1:1:secret:x");
        assert!(
            elsewhere.contains("is in us-east-1, but AWS_REGION says eu-west-1"),
            "{elsewhere}"
        );
    }
}
