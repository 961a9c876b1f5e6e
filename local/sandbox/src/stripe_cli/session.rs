//! The web socket of one `stripe listen`: webhooks out, acknowledgements and the receiver's answers in.
//!
//! A session's id says whether it forwards, so that the CLI can connect again after the sandbox was restarted.

use std::collections::HashMap;

use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use crate::delivery::{Answer, CliMessage};
use crate::{API_VERSION, Sandbox};

const SUBPROTOCOL: &str = "stripecli-devproxy-v1";
const FORWARDS: &str = "cliws_f_";
const LISTENS: &str = "cliws_l_";

pub(super) fn new_id(forwards: bool) -> String {
    let random: String = (0..24).map(|_| fastrand::alphanumeric()).collect();
    format!("{}{random}", if forwards { FORWARDS } else { LISTENS })
}

pub(super) async fn subscribe(
    State(sandbox): State<Sandbox>,
    Path(id): Path<String>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let named = headers
        .get("Websocket-Id")
        .and_then(|value| value.to_str().ok());
    let known = id.starts_with(FORWARDS) || id.starts_with(LISTENS);
    if !known || named != Some(id.as_str()) {
        // The CLI asks for a new session when it reads exactly this.
        let error = json!({ "error": { "message": "Unknown WebSocket ID." } });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    upgrade
        .protocols([SUBPROTOCOL])
        .on_upgrade(move |socket| converse(socket, sandbox, id))
}

async fn converse(mut socket: WebSocket, sandbox: Sandbox, id: String) {
    let (sender, mut webhooks) = mpsc::unbounded_channel();
    sandbox.deliveries().connect(&id, sender.clone());
    let mut conversations = Conversations {
        forwards: id.starts_with(FORWARDS),
        ..Conversations::default()
    };
    loop {
        tokio::select! {
            Some(webhook) = webhooks.recv() => {
                for frame in conversations.begin(webhook) {
                    if socket.send(Message::text(frame.to_string())).await.is_err() {
                        break;
                    }
                }
            }
            frame = socket.recv() => match frame {
                Some(Ok(Message::Text(text))) => conversations.hear(&text),
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_)) | Err(_)) | None => break,
            }
        }
    }
    sandbox.deliveries().disconnect(&id, &sender);
}

/// Webhooks whose answer has not come back.
#[derive(Default)]
struct Conversations {
    forwards: bool,
    begun: u64,
    open: HashMap<String, oneshot::Sender<Answer>>,
}

#[derive(Deserialize)]
struct Heard {
    r#type: String,
    #[serde(default)]
    webhook_conversation_id: String,
    #[serde(default)]
    status: u16,
    #[serde(default)]
    body: String,
}

impl Conversations {
    /// The frames of a webhook: one in the account's default version and one in the latest. The CLI acknowledges both
    /// and passes on the one that it was started for.
    fn begin(&mut self, webhook: CliMessage) -> [Value; 2] {
        self.begun = self.begun.wrapping_add(1);
        let conversation = format!("wc_{}_{}", webhook.event, self.begun);
        self.open.retain(|_, answer| !answer.is_closed());
        self.open.insert(conversation.clone(), webhook.answer);
        [None, Some(API_VERSION)].map(|api_version| {
            json!({
                "type": "webhook_event",
                "webhook_id": format!("wh_{}", webhook.event),
                "webhook_conversation_id": conversation,
                "event_payload": webhook.body,
                "http_headers": {
                    "Accept": "*/*; q=0.5, application/xml",
                    "Cache-Control": "no-cache",
                    "Content-Type": "application/json; charset=utf-8",
                    "Stripe-Signature": webhook.signature,
                    "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
                },
                "endpoint": { "api_version": api_version },
            })
        })
    }

    /// Takes an acknowledgement or an answer. A session that forwards is waited for until the receiver has answered.
    fn hear(&mut self, text: &str) {
        let Ok(heard) = serde_json::from_str::<Heard>(text) else {
            return;
        };
        let answer = match heard.r#type.as_str() {
            "webhook_response" => Answer {
                status: Some(heard.status),
                body: heard.body,
            },
            "event_ack" if !self.forwards => Answer {
                status: Some(200),
                body: "acknowledged".to_owned(),
            },
            _ => return,
        };
        if let Some(waiting) = self.open.remove(&heard.webhook_conversation_id) {
            // Nobody waits any more when the answer took too long.
            let _ = waiting.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(conversations: &mut Conversations) -> (String, oneshot::Receiver<Answer>) {
        let (answer, answered) = oneshot::channel();
        let webhook = CliMessage {
            event: "evt_1".into(),
            body: "{}".into(),
            signature: "t=1,v1=0".into(),
            answer,
        };
        let [default, latest] = conversations.begin(webhook);
        assert_eq!(default["endpoint"]["api_version"], Value::Null);
        assert_eq!(latest["endpoint"]["api_version"], API_VERSION);
        (
            default["webhook_conversation_id"]
                .as_str()
                .unwrap()
                .to_owned(),
            answered,
        )
    }

    #[test]
    fn a_forwarding_session_answers_with_what_the_receiver_said() {
        let mut conversations = Conversations {
            forwards: true,
            ..Conversations::default()
        };
        let (id, mut answered) = begin(&mut conversations);
        conversations
            .hear(&json!({"type": "event_ack", "webhook_conversation_id": id}).to_string());
        assert!(answered.try_recv().is_err());
        let response = json!({"type": "webhook_response", "webhook_conversation_id": id, "status": 503, "body": "x"});
        conversations.hear(&response.to_string());
        assert_eq!(answered.try_recv().unwrap().status, Some(503));
    }

    #[test]
    fn a_listening_session_answers_with_its_acknowledgement() {
        let mut conversations = Conversations::default();
        let (id, mut answered) = begin(&mut conversations);
        conversations.hear("not JSON");
        conversations
            .hear(&json!({"type": "event_ack", "webhook_conversation_id": id}).to_string());
        assert!(answered.try_recv().unwrap().is_success());
    }
}
