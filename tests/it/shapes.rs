//! The same signed webhook through every front door that Lambda has, header case and base64 included.

use local::other_events::{MultiValueHeaders, function_url, load_balancer, rest_api};
use serde_json::{Value, json};
use shared::http::HttpClient;

use crate::harness::{World, captured};

#[tokio::test]
async fn f17_the_signature_holds_through_every_front_door() {
    let world = World::start().await;
    let state =
        std::sync::Arc::new(webhook::State::new(&world.environment(), HttpClient::new()).unwrap());
    let path = "/api/webhooks/stripe";
    let mut number = 0;
    for content_type in [
        "application/json; charset=utf-8",
        "application/octet-stream",
    ] {
        for door in 0..6 {
            number += 1;
            // Umlauts and an emoji: a body that was decoded and encoded again is not the bytes signed.
            let body = json!({
                "id": format!("evt_{number}"), "object": "event", "type": "charge.updated",
                "created": world.now().as_second(), "livemode": false,
                "data": {"object": {"id": "ch_1", "description": "Käse für 5 € 🧀"}},
            });
            let body = format!("{body}\n");
            let now = world.now();
            let signature = world.signature(body.as_bytes(), now);
            let headers = [
                ("stripe-signature", signature.as_str()),
                ("content-type", content_type),
            ];
            let captured = captured(&headers, path, body.as_bytes());
            let event = match door {
                0 => local::event::http_api(&captured, "POST /api/webhooks/stripe"),
                1 => function_url(&captured),
                2 => rest_api(&captured, &["*/*"]),
                3 => rest_api(&captured, &[]),
                4 => load_balancer(&captured, MultiValueHeaders::Disabled),
                _ => load_balancer(&captured, MultiValueHeaders::Enabled),
            };
            for event in [event.clone(), title_case(event)] {
                let state = std::sync::Arc::clone(&state);
                let handler =
                    move |request| async move { webhook::handle(&state, request, now).await };
                let answer =
                    local::invocation::invoke(event, &format!("door-{number}"), now, handler)
                        .await
                        .unwrap();
                let answered: Value = serde_json::from_slice(answer.body()).unwrap();
                let outcome = answered["outcome"].as_str().unwrap_or_default();
                assert!(
                    matches!(outcome, "ignored" | "duplicate"),
                    "door {door}, {content_type}: {answered}"
                );
            }
        }
    }
}

/// The same event with header names as a REST API or a proxy may write them.
fn title_case(mut event: Value) -> Value {
    for name in ["headers", "multiValueHeaders"] {
        if let Some(Value::Object(headers)) = event.get_mut(name) {
            *headers = std::mem::take(headers)
                .into_iter()
                .map(|(name, value)| (name.to_uppercase(), value))
                .collect();
        }
    }
    event
}
