//! Verifies `Stripe-Signature` headers as the webhook does, for comparison with Stripe's own libraries
//! (`.ci/signature_differential`): reads one case per line from standard input, as JSON with header and body
//! in base64, and answers each with `accept` or `refuse`.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::Deserialize;
use shared::signature::{SigningSecret, verify};

#[derive(Deserialize)]
struct Case {
    header: Option<String>,
    body: String,
    secrets: Vec<String>,
    now: i64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut answers = stdout().lock();
    for line in stdin().lock().lines() {
        let case: Case = serde_json::from_str(&line?)?;
        let header = case
            .header
            .map(|header| STANDARD.decode(header))
            .transpose()?;
        let secrets: Option<Vec<SigningSecret>> = case
            .secrets
            .iter()
            .map(|secret| SigningSecret::new(secret))
            .collect();
        let verdict = verify(
            header.as_deref(),
            &STANDARD.decode(case.body)?,
            &secrets.ok_or("a secret is too short")?,
            Timestamp::from_second(case.now)?,
        );
        let answer = if verdict.is_ok() { "accept" } else { "refuse" };
        writeln!(answers, "{answer}")?;
    }
    Ok(())
}
