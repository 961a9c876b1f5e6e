//! `tollgate sign`: the `Stripe-Signature` header of a payload, as Stripe would send it.

use jiff::Timestamp;
use local::client::client;
use serde_json::Value;
use shared::signature::{self, SigningSecret};

/// What keeps a payload from being signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no secret to sign with.
    #[error(
        "no signing secret: give --secret whsec_…, or set STRIPE_WEBHOOK_SECRET, or start `dev`"
    )]
    NoSecret,
    /// The secret is too short to be one.
    #[error("the signing secret is too short to be one (whsec_…)")]
    NotASecret,
    /// The moment is not one.
    #[error("--at {0} is not a number of seconds since 1970 that a clock can show")]
    NotAMoment(i64),
}

/// The header for `payload`, signed by `secret` at `at`. The bytes are signed as they are: a newline at the end
/// counts, and must be sent too.
///
/// # Errors
/// When the secret cannot be one.
pub fn header(payload: &[u8], secret: Option<&str>, at: Timestamp) -> Result<String, Error> {
    // Several may be valid while one is rolled; Stripe signs with each, and one is enough.
    let first = secret.and_then(|secrets| secrets.split(',').next());
    let secret = SigningSecret::new(first.ok_or(Error::NoSecret)?).ok_or(Error::NotASecret)?;
    Ok(signature::sign(payload, &secret, at))
}

/// A moment in seconds since 1970, or now.
///
/// # Errors
/// When it is too far from today.
pub fn moment(at: Option<i64>, now: Timestamp) -> Result<Timestamp, Error> {
    at.map_or(Ok(now), |seconds| {
        Timestamp::from_second(seconds).map_err(|_out_of_range| Error::NotAMoment(seconds))
    })
}

/// What the clock of a running sandbox shows: it may have been moved, and Tollgate beside it lives by it.
/// `None` when nothing answers there.
pub async fn sandbox_clock(sandbox_url: &str) -> Option<i64> {
    let url = format!("{sandbox_url}/_sandbox/clock");
    let answer: Value = client().get(url).send().await.ok()?.json().await.ok()?;
    answer.get("now")?.as_i64()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_verified() {
        let at = moment(Some(1_790_000_000), Timestamp::UNIX_EPOCH).unwrap();
        let header = header(b"{}", Some("whsec_one,whsec_two"), at).unwrap();
        // The same as `printf '1790000000.{}' | openssl dgst -sha256 -hmac whsec_one`.
        assert_eq!(
            header,
            "t=1790000000,v1=bf12d04d928ca59a711d38171f277543df149808ade704d16dd5d5a5a19b6108"
        );
        let secrets = [SigningSecret::new("whsec_one").unwrap()];
        assert_eq!(
            signature::verify(Some(header.as_bytes()), b"{}", &secrets, at),
            Ok(())
        );
    }

    #[tokio::test]
    async fn the_clock_is_the_sandboxes_where_there_is_one() {
        use local::stack::{Options, Stack};
        let stack = Stack::start(Options::ephemeral()).await.unwrap();
        let url = stack.addresses().sandbox.clone().unwrap();
        let ahead = 86_400;
        stack.sandbox().unwrap().world().advance(ahead).unwrap();
        let shown = sandbox_clock(&url).await.unwrap();
        assert!((stack.clock().now().as_second() - shown).abs() <= 1);
        stack.stop().await;
        assert_eq!(sandbox_clock(&url).await, None);
    }

    #[test]
    fn what_is_missing_is_named() {
        let now = Timestamp::UNIX_EPOCH;
        assert_eq!(header(b"", None, now), Err(Error::NoSecret));
        assert_eq!(header(b"", Some("short"), now), Err(Error::NotASecret));
        assert_eq!(moment(None, now), Ok(now));
        assert_eq!(
            moment(Some(i64::MAX), now),
            Err(Error::NotAMoment(i64::MAX))
        );
    }
}
