//! AWS clients from the environment variables that Lambda sets.
//!
//! The configuration is built from these variables alone: probing profiles and credential providers
//! would cost every cold start and find nothing.

use std::time::Duration;

use aws_sdk_dynamodb::config::{Credentials, Region};
use aws_smithy_types::timeout::TimeoutConfig;

use crate::config::{Environment, Error};
use crate::http::HttpClient;

/// The longest that making a connection takes, one attempt, and a call with all its attempts. The SDK
/// itself would wait for ever for an answer. One silent connection leaves time for a second attempt
/// within what `process` gives an event.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

fn timeouts() -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(CALL_TIMEOUT)
        .build()
}

/// Region and credentials as Lambda's execution environment has them.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html>
fn identity(environment: &Environment) -> Result<(Region, Credentials), Error> {
    let region = Region::new(environment.require("AWS_REGION")?.to_owned());
    let credentials = Credentials::new(
        environment.require("AWS_ACCESS_KEY_ID")?,
        environment.require("AWS_SECRET_ACCESS_KEY")?,
        environment.get("AWS_SESSION_TOKEN").map(str::to_owned),
        None,
        "environment",
    );
    Ok((region, credentials))
}

/// A DynamoDB client; `AWS_ENDPOINT_URL_DYNAMODB` points it at an emulator.
pub fn dynamodb(
    environment: &Environment,
    http: &HttpClient,
) -> Result<aws_sdk_dynamodb::Client, Error> {
    let (region, credentials) = identity(environment)?;
    let mut config = aws_sdk_dynamodb::Config::builder()
        .region(region)
        .credentials_provider(credentials)
        .timeout_config(timeouts())
        .http_client(http.for_sdk());
    config.set_endpoint_url(
        environment
            .get("AWS_ENDPOINT_URL_DYNAMODB")
            .map(str::to_owned),
    );
    Ok(aws_sdk_dynamodb::Client::from_conf(config.build()))
}

/// A Secrets Manager client; `AWS_ENDPOINT_URL_SECRETS_MANAGER` points it at an emulator.
pub fn secrets_manager(
    environment: &Environment,
    http: &HttpClient,
) -> Result<aws_sdk_secretsmanager::Client, Error> {
    let (region, credentials) = identity(environment)?;
    let mut config = aws_sdk_secretsmanager::Config::builder()
        .region(region)
        .credentials_provider(credentials)
        .timeout_config(timeouts())
        .http_client(http.for_sdk());
    config.set_endpoint_url(
        environment
            .get("AWS_ENDPOINT_URL_SECRETS_MANAGER")
            .map(str::to_owned),
    );
    Ok(aws_sdk_secretsmanager::Client::from_conf(config.build()))
}
