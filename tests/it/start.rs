//! Starting: a missing variable stops a function with its name, and data survives.

use local::stack::Options;
use serde_json::json;
use shared::config::Environment;
use shared::http::HttpClient;

use crate::harness::{GOOD_CARD, World};

/// Why the function does not start with that environment; nothing when it does.
pub fn start_error(function: &str, environment: &Environment) -> Option<String> {
    let http = HttpClient::new();
    let error = match function {
        "checkout" => checkout::State::new(environment, http).err(),
        "portal" => portal::State::new(environment, http).err(),
        "profile" => profile::State::new(environment, http).err(),
        "reconcile" => reconcile::State::new(environment, http).err(),
        "webhook" => webhook::State::new(environment, http).err(),
        other => panic!("{other} is no function"),
    };
    error.map(|error| error.to_string())
}

#[tokio::test]
async fn f18_a_missing_variable_stops_the_start_and_is_named() {
    let world = World::start().await;
    let variables = world.stack.environment().to_vec();
    let table = [
        "TABLE_NAME",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ];
    let stripe = ["STRIPE_SECRET_KEY", "LIVEMODE"];
    let oidc = ["OIDC_ISSUERS", "OIDC_AUDIENCE"];
    for (function, needed) in [
        (
            "checkout",
            [&table[..], &stripe, &oidc, &["ALLOWED_URLS"]].concat(),
        ),
        (
            "portal",
            [&table[..], &stripe, &oidc, &["ALLOWED_URLS"]].concat(),
        ),
        ("profile", [&table[..], &oidc].concat()),
        ("reconcile", [&table[..], &stripe].concat()),
        (
            "webhook",
            [
                &table[..],
                &stripe,
                &["STRIPE_WEBHOOK_SECRET", "INTERNAL_SECRET"],
            ]
            .concat(),
        ),
    ] {
        assert!(
            start_error(function, &variables.iter().cloned().collect()).is_none(),
            "{function} starts"
        );
        for missing in &needed {
            for replacement in [None, Some("")] {
                let changed = variables.iter().cloned().filter_map(|(name, value)| {
                    if name == *missing {
                        replacement.map(|empty| (name, empty.to_owned()))
                    } else {
                        Some((name, value))
                    }
                });
                let error = start_error(function, &changed.collect()).expect("it does not start");
                assert!(
                    error.contains(missing),
                    "{function} without {missing}: {error}"
                );
            }
        }
        let only_needed = variables
            .iter()
            .filter(|(name, _)| needed.contains(&name.as_str()))
            .cloned();
        assert!(
            start_error(function, &only_needed.collect()).is_none(),
            "{function} needs nothing else"
        );
    }
}

/// A process that gathers it spends tens of milliseconds of CPU on the first random bytes, before the first
/// request. What the shipped binaries spend on a first handshake is measured by `bench/start`.
#[test]
fn f37_no_entropy_is_gathered_from_the_cpus_jitter() {
    assert_eq!(option_env!("AWS_LC_SYS_NO_JITTER_ENTROPY"), Some("1"));
}

#[tokio::test]
async fn data_survives_a_restart() {
    let directory = std::env::temp_dir().join(format!("tollgate-{:x}", fastrand::u64(..)));
    let options = || Options {
        data: Some(directory.clone()),
        ..Options::ephemeral()
    };
    let world = World::with(options()).await;
    world.subscribe("alice", "starter").await;
    let opened = world.checkout("bob", &json!({"plan": "starter"})).await;
    world.stop().await;

    let world = World::with(options()).await;
    assert_eq!(world.me("alice").await["access"], "active");
    world
        .pay(opened.body["session_id"].as_str().unwrap(), GOOD_CARD)
        .await;
    world.settle().await;
    assert_eq!(world.me("bob").await["access"], "active");
    world.stop().await;
    std::fs::remove_dir_all(directory).unwrap();
}

#[tokio::test]
async fn f31_the_whole_lifecycle_is_walked_offline() {
    let mut printed = Vec::new();
    let ended = tollgate::demo::demo(&mut printed).await;
    assert!(ended.is_ok(), "{}", String::from_utf8_lossy(&printed));
}
