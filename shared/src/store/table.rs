//! The table's definition, for what creates it outside of CloudFormation: one machine and the tests.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
    TimeToLiveSpecification,
};

use super::{Error, unavailable};

/// The sparse index: subscriptions by status, pending and parked events by due time. Beside the keys it
/// holds when Stripe created an event.
pub const STATUS_INDEX: &str = "by_status";

/// Creates the table unless it is there.
pub async fn ensure(client: &Client, table: &str) -> Result<(), Error> {
    let sent = client
        .create_table()
        .table_name(table)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(vec![
            attribute("pk", ScalarAttributeType::S)?,
            attribute("sk", ScalarAttributeType::S)?,
            attribute("status_key", ScalarAttributeType::S)?,
            attribute("due_at", ScalarAttributeType::N)?,
        ]))
        .set_key_schema(Some(key_schema("pk", "sk")?))
        .global_secondary_indexes(
            GlobalSecondaryIndex::builder()
                .index_name(STATUS_INDEX)
                .set_key_schema(Some(key_schema("status_key", "due_at")?))
                .projection(
                    Projection::builder()
                        .projection_type(ProjectionType::Include)
                        .non_key_attributes("created")
                        .build(),
                )
                .build()
                .map_err(|error| Error::Unavailable(error.to_string()))?,
        )
        .stream_specification(
            StreamSpecification::builder()
                .stream_enabled(true)
                .stream_view_type(StreamViewType::NewAndOldImages)
                .build()
                .map_err(|error| Error::Unavailable(error.to_string()))?,
        )
        .send()
        .await;
    match sent {
        Ok(_) => enable_expiry(client, table).await,
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|e| e.is_resource_in_use_exception()) =>
        {
            Ok(())
        }
        Err(error) => Err(unavailable(&error)),
    }
}

async fn enable_expiry(client: &Client, table: &str) -> Result<(), Error> {
    let expiry = TimeToLiveSpecification::builder()
        .attribute_name("expires_at")
        .enabled(true)
        .build()
        .map_err(|error| Error::Unavailable(error.to_string()))?;
    client
        .update_time_to_live()
        .table_name(table)
        .time_to_live_specification(expiry)
        .send()
        .await
        .map(|_| ())
        .map_err(|error| unavailable(&error))
}

fn attribute(name: &str, kind: ScalarAttributeType) -> Result<AttributeDefinition, Error> {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(kind)
        .build()
        .map_err(|error| Error::Unavailable(error.to_string()))
}

fn key_schema(partition: &str, sort: &str) -> Result<Vec<KeySchemaElement>, Error> {
    [(partition, KeyType::Hash), (sort, KeyType::Range)]
        .into_iter()
        .map(|(name, kind)| {
            KeySchemaElement::builder()
                .attribute_name(name)
                .key_type(kind)
                .build()
                .map_err(|error| Error::Unavailable(error.to_string()))
        })
        .collect()
}
