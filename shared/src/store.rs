//! The table: the only module that knows DynamoDB.
//!
//! Every condition is in the write itself. A write has three outcomes, committed, not committed and
//! unknown; an unknown one is resolved by reading back who wrote, so that our own lost reply is never
//! taken for somebody else's write.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemError, UpdateItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, Put, ReturnValuesOnConditionCheckFailure};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::account::Account;
use crate::catalog::Catalog;
use crate::config::{self, Environment};
use crate::http::HttpClient;
use crate::ids::{CustomerId, UserId};

mod compared;
mod effect;
mod keys;
mod ledger;
mod marker;
pub mod table;
mod transaction;
mod unclaimed;
mod users;

pub use effect::{Committed, Loaded, RecordKey};
use keys::{Item, Key};
pub use ledger::Spent;
pub use marker::{Marker, Outcome, Queue, Waiting};
use users::Users;

/// How long the catalogue is used before it is read again.
const CATALOG_FRESH: SignedDuration = SignedDuration::from_secs(60);

/// The table, and the catalogue that was last read from it.
#[derive(Debug)]
pub struct Store {
    client: Client,
    table: String,
    catalog: Mutex<Option<(Timestamp, Arc<Catalog>)>>,
    users: Users,
}

/// The table cannot be relied upon now.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// DynamoDB did not answer, is throttling, or refused. What a write did is unknown and has been
    /// looked for.
    #[error("DynamoDB could not do this: {0}")]
    Unavailable(String),
    /// An item is not of the form that we write.
    #[error("an item could not be read: {0}")]
    Malformed(#[from] serde_dynamo::Error),
    /// There is no catalogue in the table.
    #[error("the table has no catalogue: run `tollgate catalog sync`")]
    NoCatalog,
}

/// What became of a conditional write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Saved {
    /// It is written, by us.
    Saved,
    /// Somebody wrote the account since it was read: read again.
    FenceLost,
}

/// An account with its keys and with what the index needs.
#[derive(Serialize)]
struct AccountItem<'a> {
    #[serde(flatten)]
    key: Key,
    #[serde(flatten)]
    account: &'a Account,
    writer: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    status_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Mapping {
    user_id: UserId,
}

impl Store {
    /// The table that `TABLE_NAME` names. Contacts nothing yet.
    pub fn new(environment: &Environment, http: &HttpClient) -> Result<Self, config::Error> {
        let client = crate::aws::dynamodb(environment, http)?;
        let table = environment.require("TABLE_NAME")?.to_owned();
        Ok(Self {
            client,
            table,
            catalog: Mutex::default(),
            users: Users::default(),
        })
    }

    /// The user's account, read consistently; a new one if there is none.
    pub async fn account(&self, user_id: &UserId) -> Result<Account, Error> {
        let item = self.get(Key::account(user_id)).await?;
        item.map_or_else(
            || Ok(Account::new(user_id.clone())),
            |item| Ok(serde_dynamo::from_item(item)?),
        )
    }

    /// Writes an account over the version that it was read with. `writer` is unique to this attempt.
    pub async fn save_account(&self, account: &Account, writer: &str) -> Result<Saved, Error> {
        let account = &Account {
            version: account.version + 1,
            ..account.clone()
        };
        let put = account_put(&self.table, account, writer)?;
        match self.put(put, writer).await? {
            transaction::Outcome::Committed => Ok(Saved::Saved),
            transaction::Outcome::Refused { .. } => Ok(Saved::FenceLost),
        }
    }

    /// Makes `customer_id` the one customer of the account, and the user the one user of the customer,
    /// in one transaction.
    pub async fn claim_customer(
        &self,
        account: &Account,
        customer_id: &CustomerId,
        writer: &str,
    ) -> Result<Saved, Error> {
        let claimed = Account {
            version: account.version + 1,
            customer_id: Some(customer_id.clone()),
            ..account.clone()
        };
        let mapping = Mapping {
            user_id: account.user_id.clone(),
        };
        let item = Key::customer(customer_id).item(&mapping)?;
        let mapping = Put::builder()
            .table_name(&self.table)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk) OR user_id = :user_id")
            .expression_attribute_values(
                ":user_id",
                AttributeValue::S(account.user_id.to_string()),
            );
        let first = account_put(&self.table, &claimed, writer)?;
        let rest = vec![transaction::also(built(mapping)?)];
        match self.transact(first, rest, writer).await? {
            transaction::Outcome::Committed => Ok(Saved::Saved),
            transaction::Outcome::Refused { .. } => Ok(Saved::FenceLost),
        }
    }

    /// The catalogue, read again once a minute.
    pub async fn catalog(&self, now: Timestamp) -> Result<Arc<Catalog>, Error> {
        let mut cached = self.catalog.lock().await;
        if let Some((read_at, catalog)) = cached.as_ref()
            && now.duration_since(*read_at).abs() < CATALOG_FRESH
        {
            return Ok(Arc::clone(catalog));
        }
        let item = self.get(Key::catalog()).await?.ok_or(Error::NoCatalog)?;
        let catalog = Arc::new(serde_dynamo::from_item::<_, Catalog>(item)?);
        *cached = Some((now, Arc::clone(&catalog)));
        Ok(catalog)
    }

    /// The catalogue that was last synced, for the next sync; nothing before the first.
    pub async fn synced_catalog(&self) -> Result<Option<Catalog>, Error> {
        let item = self.get(Key::catalog()).await?;
        Ok(item.map(serde_dynamo::from_item).transpose()?)
    }

    /// Replaces the catalogue.
    pub async fn put_catalog(&self, catalog: &Catalog) -> Result<(), Error> {
        let item = Key::catalog().item(catalog)?;
        let sent = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .send()
            .await;
        *self.catalog.lock().await = None;
        sent.map(|_| ()).map_err(|error| unavailable(&error))
    }

    async fn get(&self, key: Key) -> Result<Option<Item>, Error> {
        self.get_at(key.attributes()).await
    }

    async fn get_at(&self, key: Item) -> Result<Option<Item>, Error> {
        let answer = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| unavailable(&error))?;
        Ok(answer.item)
    }
}

/// The put of an account whose `version` was raised by one since it was read.
fn account_put(table: &str, account: &Account, writer: &str) -> Result<Put, Error> {
    let live = account.live_subscription();
    let item = AccountItem {
        key: Key::account(&account.user_id),
        account,
        writer,
        status_key: live
            .map(|subscription| format!("SUBSCRIPTION#{}", subscription.status.as_str())),
        due_at: live.map(|subscription| subscription.created.as_second()),
    };
    versioned_put(
        table,
        serde_dynamo::to_item(item)?,
        account.version.saturating_sub(1),
    )
}

/// The put of an item that was read with that version; 0 means that there was none.
fn versioned_put(table: &str, item: Item, read_version: u64) -> Result<Put, Error> {
    let put = Put::builder().table_name(table).set_item(Some(item));
    built(if read_version == 0 {
        put.condition_expression("attribute_not_exists(pk)")
    } else {
        put.condition_expression("version = :read_version")
            .expression_attribute_values(
                ":read_version",
                AttributeValue::N(read_version.to_string()),
            )
    })
}

fn built(put: aws_sdk_dynamodb::types::builders::PutBuilder) -> Result<Put, Error> {
    put.return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
        .build()
        .map_err(|error| Error::Unavailable(error.to_string()))
}

fn written_by(item: &Item, writer: &str) -> bool {
    matches!(item.get("writer"), Some(AttributeValue::S(found)) if found == writer)
}

/// An update that is not needed any more when its condition does not hold.
fn updated_or_refused(
    sent: Result<UpdateItemOutput, SdkError<UpdateItemError>>,
) -> Result<(), Error> {
    match sent {
        Ok(_) => Ok(()),
        Err(error)
            if error
                .as_service_error()
                .is_some_and(UpdateItemError::is_conditional_check_failed_exception) =>
        {
            Ok(())
        }
        Err(error) => Err(unavailable(&error)),
    }
}

/// For the log: what DynamoDB said, without the request.
fn unavailable<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Error {
    let said = match error {
        SdkError::ServiceError(service) => service.err().code().unwrap_or("service error"),
        SdkError::TimeoutError(_) => "timeout",
        SdkError::DispatchFailure(_) => "no connection",
        SdkError::ResponseError(_) => "unreadable response",
        SdkError::ConstructionFailure(_) | _ => "request not sent",
    };
    Error::Unavailable(said.to_owned())
}

/// A wait before the attempt of that number: doubling, bounded, and spread by who waits, so that writers
/// that collided do not meet again.
pub fn backoff(writer: &str, attempt: u32) -> Duration {
    const FIRST_MS: u64 = 10;
    const LIMIT_MS: u64 = 320;
    let doubled = FIRST_MS
        .saturating_mul(2_u64.saturating_pow(attempt))
        .min(LIMIT_MS);
    let spread = digest::digest(&digest::SHA256, format!("{writer}#{attempt}").as_bytes());
    let share = spread.as_ref().first().copied().map_or(0, u64::from);
    Duration::from_millis(doubled / 2 + doubled * share / 256)
}
