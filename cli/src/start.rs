//! A local stack that is ready to sell: started, and the catalogue synced into its Stripe.

use std::io;
use std::path::Path;

use local::stack::{self, Options, Stack};
use local::stripe::Stripe;
use shared::catalog::{Definition, InvalidDefinition};
use shared::config::Environment;
use shared::http::HttpClient;

use crate::catalog::{self, Sync};

/// The file in the working directory from which the catalogue is read.
pub const CATALOG_FILE: &str = "catalog.toml";

/// The catalogue that ships, for a working directory that has none.
const SHIPPED: &str = include_str!("../../catalog.toml");

/// What keeps a stack from being ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the stack does not start.
    #[error(transparent)]
    Stack(#[from] stack::Error),
    /// The catalogue cannot be read.
    #[error("{CATALOG_FILE} cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// The catalogue is not a valid one.
    #[error("{CATALOG_FILE}: {0}")]
    Invalid(#[from] InvalidDefinition),
    /// Stripe or the table does not take the catalogue.
    #[error("the catalogue cannot be synced: {0}")]
    Sync(#[from] catalog::Error),
}

/// Starts a stack and gives it the catalogue.
///
/// # Errors
/// When a part does not start, or Stripe refuses the catalogue.
pub async fn start(options: Options) -> Result<Stack, Error> {
    let definition = definition(Path::new(CATALOG_FILE))?;
    let is_stripe_itself = matches!(options.stripe, Stripe::TestMode { .. });
    let stack = Stack::start(options).await?;
    let environment: Environment = stack.environment().iter().cloned().collect();
    let now = stack.clock().now();
    let sync = Sync::new(&environment, &HttpClient::new())?;
    let plan = sync.plan(&definition, now).await?;
    if is_stripe_itself {
        // What is made in somebody's account is said; the sandbox is ours.
        for action in plan.actions() {
            tracing::info!("catalogue at Stripe: {action}");
        }
    }
    sync.apply(&definition, plan, now).await?;
    Ok(stack)
}

/// The catalogue of the working directory, or the one that ships.
///
/// # Errors
/// When the file is there but cannot be read, or is not a valid catalogue.
pub fn definition(file: &Path) -> Result<Definition, Error> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Definition::parse(&text)?),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Definition::parse(SHIPPED)?),
        Err(error) => Err(error.into()),
    }
}
