//! The calls that a function cannot do without, made with the bare SDK: the same reads and writes that the
//! function has just made, on items of their own (the twins: the same items under other keys), so that their
//! conditions hold as the function's did.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::batch_get_item::builders::BatchGetItemFluentBuilder;
use aws_sdk_dynamodb::operation::get_item::builders::GetItemFluentBuilder;
use aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, Put, ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, jwk::JwkSet};
use serde_json::{Map, Value};
use shared::config::Environment;
use shared::http::HttpClient;

/// Where the twins' keys begin.
const TWIN: &str = "TWIN#";

type Item = HashMap<String, AttributeValue>;

/// Gives every item of the table a twin.
pub async fn copy_to_twins(client: &Client, table: &str) {
    let scanned = client.scan().table_name(table).consistent_read(true);
    let scanned = scanned.send().await.expect("the table");
    assert!(
        scanned.last_evaluated_key().is_none(),
        "the table is too large for this"
    );
    for mut item in scanned.items.unwrap_or_default() {
        if to_twin(&mut item) {
            let put = client.put_item().table_name(table).set_item(Some(item));
            put.send().await.expect("a twin");
        }
    }
}

/// The read that a function has made, for the twins.
pub fn batch_get(client: &Client, body: &[u8]) -> BatchGetItemFluentBuilder {
    let mut asked = only(body, &["RequestItems"]);
    let mut call = client.batch_get_item();
    for (table, asked) in object(asked.remove("RequestItems")) {
        let mut asked = known(Some(asked), &["Keys", "ConsistentRead"]);
        let mut keys = KeysAndAttributes::builder()
            .set_consistent_read(asked.get("ConsistentRead").and_then(Value::as_bool));
        for key in list(asked.remove("Keys")) {
            keys = keys.keys(twin(key));
        }
        call = call.request_items(table, keys.build().unwrap());
    }
    call
}

/// The write that a function has made, for the twins. Its token is the SDK's own: the write is another one.
pub fn transact(client: &Client, body: &[u8]) -> TransactWriteItemsFluentBuilder {
    let mut asked = only(body, &["TransactItems", "ClientRequestToken"]);
    let mut call = client.transact_write_items();
    for item in list(asked.remove("TransactItems")) {
        let put = known(Some(item), &["Put"]).remove("Put");
        let mut put = known(
            put,
            &[
                "Item",
                "TableName",
                "ConditionExpression",
                "ExpressionAttributeNames",
                "ExpressionAttributeValues",
                "ReturnValuesOnConditionCheckFailure",
            ],
        );
        let names = put.remove("ExpressionAttributeNames").map(|names| {
            let names = object(Some(names)).into_iter();
            names.map(|(name, of)| (name, text(&of))).collect()
        });
        let built = Put::builder()
            .table_name(text(&put["TableName"]))
            .set_item(put.remove("Item").map(twin))
            .set_condition_expression(put.get("ConditionExpression").map(text))
            .set_expression_attribute_names(names)
            .set_expression_attribute_values(put.remove("ExpressionAttributeValues").map(item_of))
            .set_return_values_on_condition_check_failure(
                put.get("ReturnValuesOnConditionCheckFailure")
                    .map(|what| ReturnValuesOnConditionCheckFailure::from(text(what).as_str())),
            );
        let put = built.build().unwrap();
        call = call.transact_items(TransactWriteItem::builder().put(put).build());
    }
    call
}

/// The read of one item that a function has made.
pub fn get(client: &Client, body: &[u8]) -> GetItemFluentBuilder {
    let mut asked = only(body, &["TableName", "Key", "ConsistentRead"]);
    client
        .get_item()
        .table_name(text(&asked["TableName"]))
        .set_consistent_read(asked.get("ConsistentRead").and_then(Value::as_bool))
        .set_key(asked.remove("Key").map(item_of))
}

/// The one key with which a token is verified, ready to be used.
pub struct Verifier {
    key: DecodingKey,
    validation: Validation,
}

impl Verifier {
    pub fn verify(&self, token: &str) {
        decode::<Value>(token, &self.key, &self.validation).expect("a valid token");
    }
}

/// The issuer's key for `token`.
pub async fn keys(environment: &Environment, token: &str) -> Verifier {
    let issuer = environment.require("OIDC_ISSUERS").unwrap();
    let endpoint = HttpClient::new().endpoint("oidc", issuer, std::time::Duration::from_secs(3));
    let read = async |url: &str| {
        let path = url.strip_prefix(issuer).expect("an address of the issuer");
        let response = endpoint.send("GET", path, &[], None).await.unwrap();
        serde_json::from_slice::<Value>(&response.body).unwrap()
    };
    let discovery = read(&format!("{issuer}/.well-known/openid-configuration")).await;
    let keys = read(&text(&discovery["jwks_uri"])).await;
    let keys: JwkSet = serde_json::from_value(keys).unwrap();
    let id = jsonwebtoken::decode_header(token).unwrap().kid.unwrap();
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_audience(&[environment.require("OIDC_AUDIENCE").unwrap()]);
    validation.set_issuer(&[issuer]);
    Verifier {
        key: DecodingKey::from_jwk(keys.find(&id).unwrap()).unwrap(),
        validation,
    }
}

/// The request's members; one that is not copied would make the comparison unfair.
fn only(body: &[u8], members: &[&str]) -> Map<String, Value> {
    known(Some(serde_json::from_slice(body).unwrap()), members)
}

fn known(value: Option<Value>, members: &[&str]) -> Map<String, Value> {
    let value = object(value);
    for name in value.keys() {
        assert!(members.contains(&name.as_str()), "{name} is not copied");
    }
    value
}

fn object(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(members)) => members,
        other => panic!("not an object: {other:?}"),
    }
}

fn list(value: Option<Value>) -> Vec<Value> {
    match value {
        Some(Value::Array(entries)) => entries,
        other => panic!("not a list: {other:?}"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

fn twin(item: Value) -> Item {
    let mut item = item_of(item);
    assert!(to_twin(&mut item), "an item of the function's own");
    item
}

/// Whether the item was not a twin yet.
fn to_twin(item: &mut Item) -> bool {
    let Some(AttributeValue::S(key)) = item.get_mut("pk") else {
        panic!("an item without its key");
    };
    let was_not = !key.starts_with(TWIN);
    key.insert_str(0, TWIN);
    was_not
}

fn item_of(item: Value) -> Item {
    let members = object(Some(item)).into_iter();
    members
        .map(|(name, value)| (name, attribute(value)))
        .collect()
}

fn attribute(value: Value) -> AttributeValue {
    let (kind, value) = object(Some(value)).into_iter().next().expect("a type");
    match kind.as_str() {
        "S" => AttributeValue::S(text(&value)),
        "N" => AttributeValue::N(text(&value)),
        "BOOL" => AttributeValue::Bool(value.as_bool().expect("a boolean")),
        "L" => AttributeValue::L(list(Some(value)).into_iter().map(attribute).collect()),
        "M" => AttributeValue::M(item_of(value)),
        other => panic!("the type {other} is not copied"),
    }
}
