//! DynamoDB on one machine: the `dynoxide` server behind DynamoDB's own HTTP API.
//!
//! Everything reaches it by the real SDK, the table's creation included. Nothing here knows an item.

use std::future::Future;

use dynoxide::Database;
use tokio::net::TcpListener;

use crate::data::Data;

/// Name of the table.
pub const TABLE_NAME: &str = "tollgate";

/// Region that the local server answers for.
pub const REGION: &str = "us-east-1";

/// Access key id and secret that the local server takes; it takes any.
pub const CREDENTIALS: (&str, &str) = ("local", "local");

/// The database cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("the database cannot be opened: {0}")]
pub struct Error(String);

/// Opens the database kept in `data`.
///
/// # Errors
/// When its file cannot be used.
pub fn open(data: &Data) -> Result<Database, Error> {
    let opened = match data.file("dynamodb.sqlite") {
        Some(path) => Database::new(&path.to_string_lossy()),
        None => Database::memory(),
    };
    opened.map_err(|error| Error(error.to_string()))
}

/// Serves DynamoDB's API until `stop`.
pub async fn serve(
    listener: TcpListener,
    database: Database,
    stop: impl Future<Output = ()> + Send + 'static,
) {
    if let Err(error) = dynoxide::server::serve_with_shutdown(listener, database, stop).await {
        tracing::error!(%error, "the DynamoDB server ended");
    }
}
