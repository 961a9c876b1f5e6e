//! `tollgate dev`: everything on one machine until it is told to stop.
//!
//! It prints the values it runs with, which are made for this machine only, and leaves them in a file
//! for other terminals. A key of Stripe itself is not printed.

use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use local::env_file;
use local::stack::{Options, Stack};
use local::stripe::{self, Stripe};

use crate::start::{self, start};

/// Where data and `dev.env` are kept, below the working directory.
const DATA_DIRECTORY: &str = ".tollgate";

/// What keeps `dev` from running.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The environment asks for a Stripe that cannot be used.
    #[error(transparent)]
    Stripe(#[from] stripe::Error),
    /// The stack does not start.
    #[error(transparent)]
    Start(#[from] start::Error),
    /// The file with the values cannot be written.
    #[error(transparent)]
    EnvFile(#[from] local::data::Error),
    /// Nothing can be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Where a stack with that Stripe keeps its data. The sandbox's customers and prices are unknown to
/// Stripe itself, so neither may meet the other's table.
pub fn data_directory(stripe: &Stripe) -> PathBuf {
    match stripe {
        Stripe::Sandbox => PathBuf::from(DATA_DIRECTORY),
        Stripe::TestMode { .. } => Path::new(DATA_DIRECTORY).join("stripe"),
    }
}

/// Where `dev.env` is unless told otherwise.
pub fn default_env_file() -> PathBuf {
    Path::new(DATA_DIRECTORY).join("dev.env")
}

/// Starts a stack, says so on `out` and in `env_file`, and runs it until `stop`.
///
/// # Errors
/// When the stack does not start or its values cannot be written.
pub async fn dev(
    options: Options,
    env_file: &Path,
    out: &mut (dyn Write + Send),
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let stack = start(options).await?;
    let written = env_file::write(env_file, &stack.variables(), stack.environment())?;
    let printed = out
        .write_all(announcement(&stack, env_file).as_bytes())
        .and_then(|()| out.flush());
    if printed.is_ok() {
        stop.await;
    }
    stack.stop().await;
    drop(written);
    Ok(printed?)
}

fn announcement(stack: &Stack, env_file: &Path) -> String {
    let addresses = stack.addresses();
    let (app, issuer, dynamodb) = (&addresses.gateway, &addresses.issuer, &addresses.dynamodb);
    let sandbox = addresses
        .sandbox
        .as_deref()
        .unwrap_or("not used: Stripe itself, in test mode");
    let values: String = stack
        .environment()
        .iter()
        .map(|(name, value)| {
            format!(
                "  {name}={}\n",
                shown(name, value, addresses.sandbox.is_some())
            )
        })
        .collect();
    let env_file = env_file.display();
    let events = match &addresses.sandbox {
        Some(_) => String::new(),
        None => format!("\n  stripe listen --forward-to {app}/api/webhooks/stripe\n"),
    };
    // The Stripe CLI takes no other name for this machine than its number.
    let stripe_cli = addresses
        .sandbox
        .as_ref()
        .map_or_else(String::new, |sandbox| {
            let (base, key) = (
                sandbox.replace("localhost", "127.0.0.1"),
                stripe::SANDBOX_SECRET_KEY,
            );
            format!(
                "\nThe Stripe CLI works with the sandbox too, for example:\n
  stripe trigger invoice.paid --api-base {base} --api-key {key}\n"
            )
        });
    format!(
        "Tollgate is ready.\n
  app and API     {app}
  DynamoDB        {dynamodb}
  OIDC issuer     {issuer}
  Stripe sandbox  {sandbox}

The functions run with (also in {env_file}):

{values}
Next: open {app}, sign in as anybody, and pay with card 4242 4242 4242 4242. Or here:
{events}
  TOKEN=$(cargo run --quiet -- token alice)
  curl -H \"Authorization: Bearer $TOKEN\" {app}/api/user/me
  curl -H \"Authorization: Bearer $TOKEN\" -H 'Content-Type: application/json' \\
       -d '{{\"plan\": \"pro\", \"interval\": \"month\"}}' {app}/api/billing/checkout-session
{stripe_cli}
Ctrl-C stops it.\n"
    )
}

/// A value as it is printed: all of them but the secrets of Stripe itself.
fn shown<'v>(name: &str, value: &'v str, is_sandbox: bool) -> &'v str {
    let is_secret = matches!(name, "STRIPE_SECRET_KEY" | "STRIPE_WEBHOOK_SECRET");
    if is_secret && !is_sandbox {
        "(yours)"
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secrets_of_stripe_itself_are_not_printed() {
        for name in ["STRIPE_SECRET_KEY", "STRIPE_WEBHOOK_SECRET"] {
            assert_eq!(shown(name, "secret", false), "(yours)");
            assert_eq!(shown(name, "secret", true), "secret");
        }
        assert_eq!(shown("TABLE_NAME", "tollgate", false), "tollgate");
    }
}
