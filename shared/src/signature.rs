//! Verification of `Stripe-Signature` over the bytes as they were received.
//!
//! The header's grammar is strict: what Stripe does not send is refused, so that nothing is accepted
//! that Stripe's own libraries would refuse. Pure; the caller brings the clock.
//! <https://docs.stripe.com/webhooks/signature>

use aws_lc_rs::hmac;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

/// How far the signature's timestamp may lie from our clock, in either direction.
pub const TOLERANCE_SECONDS: i64 = 300;

/// The most comma-separated entries that a header may have.
const ENTRIES_MAX: usize = 16;

/// The longest header that is looked at: sixteen entries of `v1=` and 64 digits fit well.
const HEADER_LIMIT_BYTES: usize = 2048;

/// A webhook signing secret, `whsec_…`. It cannot be empty.
#[derive(Clone, Debug)]
pub struct SigningSecret(SecretString);

impl SigningSecret {
    /// The shortest secret that is taken for one; Stripe's are far longer.
    const LENGTH_MIN: usize = 8;

    /// A secret, unless it is blank or too short to be one.
    pub fn new(secret: &str) -> Option<Self> {
        let secret = secret.trim();
        (secret.len() >= Self::LENGTH_MIN).then(|| Self(SecretString::from(secret)))
    }
}

/// Why a request is not taken for Stripe's. For the log; the caller outside sees one code for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The header is absent.
    #[error("no Stripe-Signature header")]
    Missing,
    /// The header is not of the form `t=…,v1=…`.
    #[error("malformed Stripe-Signature header")]
    Malformed,
    /// The timestamp is more than [`TOLERANCE_SECONDS`] from our clock.
    #[error("timestamp outside the tolerance")]
    OutsideTolerance,
    /// No signature matches under any secret.
    #[error("no signature matches")]
    Mismatch,
}

/// Checks that one of `secrets` signed `body`: every `v1` is tried against every secret, in constant
/// time each, and `t` must lie within [`TOLERANCE_SECONDS`] of `now`.
pub fn verify(
    header: Option<&[u8]>,
    body: &[u8],
    secrets: &[SigningSecret],
    now: Timestamp,
) -> Result<(), Error> {
    let header = header.ok_or(Error::Missing)?;
    let parsed = Header::parse(header).ok_or(Error::Malformed)?;
    let mut matched = false;
    for secret in secrets {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.0.expose_secret().as_bytes());
        let signed = signed_by(&key, parsed.timestamp_digits, body);
        for signature in &parsed.signatures {
            matched |=
                aws_lc_rs::constant_time::verify_slices_are_equal(signed.as_ref(), signature)
                    .is_ok();
        }
    }
    if !matched {
        return Err(Error::Mismatch);
    }
    let age = i128::from(now.as_second()) - i128::from(parsed.timestamp);
    if age.abs() > i128::from(TOLERANCE_SECONDS) {
        return Err(Error::OutsideTolerance);
    }
    Ok(())
}

/// The header that Stripe would send with `body`; for the tools that sign test events.
pub fn sign(body: &[u8], secret: &SigningSecret, at: Timestamp) -> String {
    let timestamp = at.as_second().to_string();
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.0.expose_secret().as_bytes());
    format!(
        "t={timestamp},v1={}",
        hex::encode(signed_by(&key, &timestamp, body))
    )
}

fn signed_by(key: &hmac::Key, timestamp: &str, body: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body);
    context.sign()
}

struct Header<'h> {
    timestamp: i64,
    timestamp_digits: &'h str,
    signatures: Vec<[u8; 32]>,
}

impl<'h> Header<'h> {
    /// One `t` of canonical decimal digits, at least one `v1` of 64 lower-case hex digits, entries of
    /// other schemes (`v0` of test events) skipped if they are `name=value`.
    fn parse(header: &'h [u8]) -> Option<Self> {
        if header.len() > HEADER_LIMIT_BYTES {
            return None;
        }
        let text = std::str::from_utf8(header)
            .ok()
            .filter(|text| text.is_ascii())?;
        let mut timestamp = None;
        let mut signatures = Vec::new();
        for (index, entry) in text.split(',').enumerate() {
            if index == ENTRIES_MAX {
                return None;
            }
            match entry.split_once('=')? {
                ("t", digits) if timestamp.is_none() => {
                    timestamp = Some((canonical(digits)?, digits))
                }
                ("t", _) => return None,
                ("v1", digits) => signatures.push(digest(digits)?),
                (scheme, value) => skip(scheme, value)?,
            }
        }
        let (timestamp, timestamp_digits) = timestamp?;
        (!signatures.is_empty()).then_some(Self {
            timestamp,
            timestamp_digits,
            signatures,
        })
    }
}

/// Seconds without sign, leading zero or blank, as Stripe writes them.
fn canonical(digits: &str) -> Option<i64> {
    let seconds: i64 = digits.parse().ok()?;
    (seconds >= 0 && seconds.to_string() == digits).then_some(seconds)
}

fn digest(digits: &str) -> Option<[u8; 32]> {
    if digits.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let mut digest = [0; 32];
    hex::decode_to_slice(digits, &mut digest).ok()?;
    Some(digest)
}

fn skip(scheme: &str, value: &str) -> Option<()> {
    let is_word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    (is_word(scheme) && is_word(value)).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_790_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(seconds).unwrap()
    }

    fn secret(text: &str) -> SigningSecret {
        SigningSecret::new(text).unwrap()
    }

    fn check(header: &str, body: &[u8]) -> Result<(), Error> {
        verify(
            Some(header.as_bytes()),
            body,
            &[secret("whsec_one"), secret("whsec_two")],
            at(NOW),
        )
    }

    #[test]
    fn f18_an_empty_secret_cannot_be_constructed() {
        for text in ["", " ", "\n", "short"] {
            assert!(SigningSecret::new(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn known_answer() {
        // Computed with `printf '1790000000.{}' | openssl dgst -sha256 -hmac whsec_one`.
        let header = sign(b"{}", &secret("whsec_one"), at(NOW));
        assert_eq!(
            header,
            "t=1790000000,v1=bf12d04d928ca59a711d38171f277543df149808ade704d16dd5d5a5a19b6108"
        );
    }

    #[test]
    fn f19_any_secret_and_any_v1_may_match() {
        let one = sign(b"{}", &secret("whsec_one"), at(NOW));
        let two = sign(b"{}", &secret("whsec_two"), at(NOW));
        assert_eq!(check(&one, b"{}"), Ok(()));
        assert_eq!(check(&two, b"{}"), Ok(()));
        let wrong = "0".repeat(64);
        let rolled = one.replace(",v1=", &format!(",v1={wrong},v0=abc,v1="));
        assert_eq!(check(&rolled, b"{}"), Ok(()));
        assert_eq!(
            check(&sign(b"{}", &secret("whsec_three"), at(NOW)), b"{}"),
            Err(Error::Mismatch)
        );
        assert_eq!(
            verify(Some(one.as_bytes()), b"{}", &[], at(NOW)),
            Err(Error::Mismatch)
        );
    }

    #[test]
    fn the_body_is_the_bytes_signed() {
        let header = sign(b"{\"a\":1}", &secret("whsec_one"), at(NOW));
        assert_eq!(check(&header, b"{\"a\":1}"), Ok(()));
        for altered in [
            &b"{\"a\":2}"[..],
            b"{\"a\":1}\n",
            b"\xEF\xBB\xBF{\"a\":1}",
            b"{\"a\": 1}",
            b"",
        ] {
            assert_eq!(check(&header, altered), Err(Error::Mismatch));
        }
    }

    #[test]
    fn the_timestamp_is_within_tolerance_in_both_directions() {
        for (seconds, expected) in [
            (NOW - 300, Ok(())),
            (NOW + 300, Ok(())),
            (NOW - 301, Err(Error::OutsideTolerance)),
            (NOW + 301, Err(Error::OutsideTolerance)),
            (NOW + 315_360_000, Err(Error::OutsideTolerance)),
            (0, Err(Error::OutsideTolerance)),
        ] {
            assert_eq!(
                check(&sign(b"{}", &secret("whsec_one"), at(seconds)), b"{}"),
                expected,
                "{seconds}"
            );
        }
    }

    #[test]
    fn f33_what_is_outside_the_grammar_is_refused() {
        let good = sign(b"{}", &secret("whsec_one"), at(NOW));
        let v1 = good.split_once(",").unwrap().1.to_owned();
        let digits = v1.trim_start_matches("v1=").to_owned();
        let malformed = [
            String::new(),
            ",".to_owned(),
            "t=,v1=".to_owned(),
            v1.clone(),
            format!("t={NOW}"),
            format!("t={NOW},{v1},t={NOW}"),
            format!("{good}, {good}"),
            format!("t=+{NOW},{v1}"),
            format!("t=-1,{v1}"),
            format!("t=0{NOW},{v1}"),
            format!("t= {NOW},{v1}"),
            format!("t={NOW}.0,{v1}"),
            format!("t=1e9,{v1}"),
            format!("t=99999999999999999999,{v1}"),
            format!("t={NOW},v1={}", digits.to_uppercase()),
            format!("t={NOW},v1={}", digits.get(..63).unwrap()),
            format!("t={NOW},v1={digits}0"),
            format!("t={NOW};v1={digits}"),
            format!("t={NOW},{v1},"),
            format!("t={NOW},{v1},x"),
            format!("t={NOW}{}", format!(",{v1}").repeat(16)),
            format!("t={NOW},{v1},v0={}", "a".repeat(3000)),
            format!("t={NOW},{v1},v0=ü"),
        ];
        for header in malformed {
            assert_eq!(check(&header, b"{}"), Err(Error::Malformed), "{header}");
        }
        assert_eq!(
            verify(None, b"{}", &[secret("whsec_one")], at(NOW)),
            Err(Error::Missing)
        );
        let padded = |length: usize| {
            let start = format!("t={NOW},{v1},v0=");
            format!("{start}{}", "a".repeat(length - start.len()))
        };
        assert_eq!(check(&padded(HEADER_LIMIT_BYTES), b"{}"), Ok(()));
        assert_eq!(
            check(&padded(HEADER_LIMIT_BYTES + 1), b"{}"),
            Err(Error::Malformed)
        );
        let most = format!("t={NOW}{}", format!(",{v1}").repeat(15));
        assert_eq!(check(&most, b"{}"), Ok(()));
    }
}
