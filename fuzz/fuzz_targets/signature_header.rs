//! Proves of `signature::verify`, whatever header and body it is given: it does not panic, and it accepts
//! exactly what a second parser, written from the grammar and not from the code, finds inside the grammar,
//! timely, and carrying a true HMAC of the bytes received.
//!
//! The input is header, blank line, body. So that the fuzzer can reach what is accepted, an `@` in the
//! header becomes the signature under the first secret, a `~` that under the second.
#![no_main]

use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use sha2::Sha256;
use shared::signature::{Error, SigningSecret, verify};

const NOW: i64 = 1_790_000_000;
const TOLERANCE: i128 = 300;
const TEXTS: [&str; 2] = ["whsec_first", "whsec_second"];

static SECRETS: LazyLock<[SigningSecret; 2]> =
    LazyLock::new(|| TEXTS.map(|text| SigningSecret::new(text).unwrap()));

fuzz_target!(|input: &[u8]| {
    let middle = input.windows(2).position(|pair| pair == b"\n\n");
    let (template, body) = middle.map_or((input, &b""[..]), |at| (&input[..at], &input[at + 2..]));
    let header = fill_in(template, body);
    let verdict = verify(
        Some(&header),
        body,
        &*SECRETS,
        Timestamp::from_second(NOW).unwrap(),
    );
    let reference = Reference::parse(&header);
    assert_eq!(verdict == Err(Error::Malformed), reference.is_none());
    let accepted = reference.is_some_and(|reference| reference.is_true(body));
    assert_eq!(verdict.is_ok(), accepted, "{verdict:?}");
});

/// Puts true signatures where the template asks for them.
fn fill_in(template: &[u8], body: &[u8]) -> Vec<u8> {
    let timestamp = template
        .windows(2)
        .position(|pair| pair == b"t=")
        .map_or(&b""[..], |at| {
            let rest = &template[at + 2..];
            &rest[..rest.iter().position(|b| *b == b',').unwrap_or(rest.len())]
        });
    let mut header = Vec::new();
    for byte in template {
        match byte {
            b'@' => header.extend(signature(TEXTS[0], timestamp, body)),
            b'~' => header.extend(signature(TEXTS[1], timestamp, body)),
            other => header.push(*other),
        }
    }
    header
}

/// The HMAC in lower-case hex, by other code than the one under test.
fn signature(secret: &str, timestamp: &[u8], body: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    for part in [timestamp, b".", body] {
        mac.update(part);
    }
    let digest = mac.finalize().into_bytes();
    digest
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}

/// What the grammar says of a header that is inside it.
struct Reference<'h> {
    timestamp: &'h [u8],
    signatures: Vec<&'h [u8]>,
}

impl<'h> Reference<'h> {
    fn parse(header: &'h [u8]) -> Option<Self> {
        let entries: Vec<&[u8]> = header.split(|byte| *byte == b',').collect();
        if header.len() > 2048 || entries.len() > 16 {
            return None;
        }
        let mut timestamps = Vec::new();
        let mut signatures = Vec::new();
        for entry in entries {
            let equals = entry.iter().position(|byte| *byte == b'=')?;
            let (name, value) = (&entry[..equals], &entry[equals + 1..]);
            let word = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_alphanumeric);
            let in_grammar = match name {
                b"t" => {
                    timestamps.push(value);
                    seconds(value).is_some()
                }
                b"v1" => {
                    signatures.push(value);
                    value.len() == 64 && value.iter().all(|b| b"0123456789abcdef".contains(b))
                }
                other => word(other) && word(value),
            };
            if !in_grammar {
                return None;
            }
        }
        match timestamps[..] {
            [timestamp] if !signatures.is_empty() => Some(Self {
                timestamp,
                signatures,
            }),
            _ => None,
        }
    }

    fn is_true(&self, body: &[u8]) -> bool {
        let is_timely = seconds(self.timestamp)
            .is_some_and(|seconds| (i128::from(NOW) - seconds).abs() <= TOLERANCE);
        let is_signed = TEXTS.iter().any(|secret| {
            let expected = signature(secret, self.timestamp, body);
            self.signatures.contains(&&expected[..])
        });
        is_timely && is_signed
    }
}

/// Canonical decimal digits that fit 63 bits.
fn seconds(digits: &[u8]) -> Option<i128> {
    let canonical = match digits {
        [] => false,
        [b'0'] => true,
        [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
    };
    if !canonical || digits.len() > 19 {
        return None;
    }
    let value = digits
        .iter()
        .fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'));
    (value < 1 << 63).then_some(value)
}
