//! Which Stripe the local stack works with: the sandbox, or Stripe itself in test mode.
//!
//! A live key is refused: nothing on one machine may charge a real card.

use shared::config::Environment;

/// The secret key that the sandbox is used with. It takes any test key.
pub const SANDBOX_SECRET_KEY: &str = "sk_test_tollgate_sandbox";

/// Which Stripe to work with.
#[derive(Clone)]
pub enum Stripe {
    /// The sandbox, in this process.
    Sandbox,
    /// Stripe itself, in test mode.
    TestMode {
        /// The account's `sk_test_…` or `rk_test_…` key.
        secret_key: String,
        /// The `whsec_…` secrets of what forwards the events, comma-separated.
        webhook_secret: String,
    },
}

/// What keeps Stripe itself from being used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The key could charge real cards.
    #[error(
        "STRIPE_SECRET_KEY is a live key; one machine works with test keys (sk_test_…) or without any"
    )]
    LiveKey,
    /// The key is not a secret key.
    #[error("STRIPE_SECRET_KEY is not a test key (sk_test_…); unset it to use the Stripe sandbox")]
    NotATestKey,
    /// Events could not be verified.
    #[error(
        "STRIPE_SECRET_KEY is a key of Stripe itself, and STRIPE_WEBHOOK_SECRET is missing: set it to what \
         `stripe listen --print-secret` prints, or unset STRIPE_SECRET_KEY to use the Stripe sandbox"
    )]
    NoWebhookSecret,
}

impl Stripe {
    /// What the process environment asks for: Stripe itself when it holds a test key that is not the
    /// sandbox's own, else the sandbox.
    ///
    /// # Errors
    /// When the key must not or cannot be used.
    pub fn from_environment(environment: &Environment) -> Result<Self, Error> {
        let Some(secret_key) = environment.get("STRIPE_SECRET_KEY") else {
            return Ok(Self::Sandbox);
        };
        if secret_key == SANDBOX_SECRET_KEY {
            return Ok(Self::Sandbox);
        }
        if secret_key.contains("_live_") {
            return Err(Error::LiveKey);
        }
        if !secret_key.starts_with("sk_test_") && !secret_key.starts_with("rk_test_") {
            return Err(Error::NotATestKey);
        }
        let webhook_secret = environment
            .get("STRIPE_WEBHOOK_SECRET")
            .ok_or(Error::NoWebhookSecret)?;
        Ok(Self::TestMode {
            secret_key: secret_key.to_owned(),
            webhook_secret: webhook_secret.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(pairs: &[(&str, &str)]) -> Result<&'static str, Error> {
        let environment: Environment = pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        Stripe::from_environment(&environment).map(|stripe| match stripe {
            Stripe::Sandbox => "sandbox",
            Stripe::TestMode { .. } => "test mode",
        })
    }

    #[test]
    fn the_key_chooses() {
        let secret = ("STRIPE_WEBHOOK_SECRET", "whsec_1");
        assert_eq!(chosen(&[]), Ok("sandbox"));
        assert_eq!(chosen(&[("STRIPE_SECRET_KEY", "")]), Ok("sandbox"));
        assert_eq!(
            chosen(&[("STRIPE_SECRET_KEY", SANDBOX_SECRET_KEY)]),
            Ok("sandbox")
        );
        assert_eq!(
            chosen(&[("STRIPE_SECRET_KEY", "sk_test_1"), secret]),
            Ok("test mode")
        );
        assert_eq!(
            chosen(&[("STRIPE_SECRET_KEY", "sk_test_1")]),
            Err(Error::NoWebhookSecret)
        );
        for live in ["sk_live_1", "rk_live_1"] {
            assert_eq!(
                chosen(&[("STRIPE_SECRET_KEY", live), secret]),
                Err(Error::LiveKey)
            );
        }
        assert_eq!(
            chosen(&[("STRIPE_SECRET_KEY", "pk_test_1"), secret]),
            Err(Error::NotATestKey)
        );
    }
}
