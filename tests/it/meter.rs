//! What a function asks of others, counted: its requests by kind, and DynamoDB's own account of the
//! write and read units that they consumed.
//!
//! The function's code is not touched. The meter sits in its connections, and asks DynamoDB to say what
//! each request consumed by adding `ReturnConsumedCapacity` to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use serde_json::{Value, json};
use shared::http::HttpClient;

use crate::tap::{tapped, target};

/// DynamoDB operations that write. A refused write consumes units too, and DynamoDB does not say so.
const WRITES: [&str; 4] = ["DeleteItem", "PutItem", "TransactWriteItems", "UpdateItem"];

/// What was asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// How many requests of each kind: DynamoDB's by operation, Stripe's by method and path.
    pub requests: BTreeMap<String, usize>,
    /// Write units that DynamoDB reports, those of the index included.
    pub write_units: f64,
    /// Read units that DynamoDB reports.
    pub read_units: f64,
}

impl Tally {
    pub fn count(&self, kind: &str) -> usize {
        self.requests.get(kind).copied().unwrap_or_default()
    }

    /// Attempts to write, whether or not they were refused.
    pub fn writes(&self) -> usize {
        WRITES.iter().map(|kind| self.count(kind)).sum()
    }

    /// Calls to Stripe, whatever they ask.
    pub fn of_stripe(&self) -> usize {
        let of_stripe = self.requests.iter().filter(|(kind, _)| kind.contains('/'));
        of_stripe.map(|(_, count)| count).sum()
    }

    /// All requests, as a table shows them.
    pub fn shown(&self) -> String {
        let each = self
            .requests
            .iter()
            .map(|(kind, count)| format!("{count} {kind}"));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Counts what passes through its client.
#[derive(Clone, Debug, Default)]
pub struct Meter(Arc<Mutex<Tally>>);

impl Meter {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn client(&self) -> HttpClient {
        let tally = Arc::clone(&self.0);
        tapped(move |request, inner| count(&tally, request, inner))
    }

    /// What was asked since the last time.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut locked(&self.0))
    }
}

fn count(
    tally: &Arc<Mutex<Tally>>,
    mut request: HttpRequest,
    inner: SharedHttpConnector,
) -> HttpConnectorFuture {
    let kind = kind_of(&request);
    let of_kind = kind.clone();
    *locked(tally).requests.entry(of_kind).or_default() += 1;
    if kind.contains('/') {
        return inner.call(request);
    }
    ask_for_units(&mut request);
    let tally = Arc::clone(tally);
    HttpConnectorFuture::new(async move {
        let mut response = inner.call(request).await?;
        let units = units_of(&mut response).await?;
        let mut tally = locked(&tally);
        if WRITES.contains(&kind.as_str()) {
            tally.write_units += units;
        } else {
            tally.read_units += units;
        }
        drop(tally);
        Ok(response)
    })
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

/// DynamoDB names the operation in a header; Stripe's is the method and the path.
fn kind_of(request: &HttpRequest) -> String {
    match target(request) {
        Some(target) => target.rsplit('.').next().unwrap().to_owned(),
        None => {
            let uri: http::Uri = request.uri().parse().unwrap();
            format!("{} {}", request.method(), uri.path())
        }
    }
}

/// The signature no longer fits what is sent; the local DynamoDB does not check it.
fn ask_for_units(request: &mut HttpRequest) {
    let sent = request.body().bytes().unwrap();
    let mut body: Value = serde_json::from_slice(sent).unwrap();
    body["ReturnConsumedCapacity"] = json!("TOTAL");
    let body = body.to_string();
    request
        .headers_mut()
        .insert("content-length", body.len().to_string());
    *request.body_mut() = SdkBody::from(body);
}

/// One operation answers with an object and another with a list of them, one for each table. An error
/// has none.
async fn units_of(response: &mut HttpResponse) -> Result<f64, ConnectorError> {
    let received = ByteStream::new(response.take_body())
        .collect()
        .await
        .map_err(|error| ConnectorError::io(error.into()))?
        .into_bytes();
    let answer: Value = serde_json::from_slice(&received).unwrap_or_default();
    let consumed = match &answer["ConsumedCapacity"] {
        Value::Array(tables) => tables.clone(),
        one => vec![one.clone()],
    };
    let units = consumed
        .iter()
        .filter_map(|table| table["CapacityUnits"].as_f64())
        .sum();
    *response.body_mut() = SdkBody::from(received);
    Ok(units)
}
