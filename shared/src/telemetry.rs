//! Logs of a deployed function: one JSON object a line, for CloudWatch.
//!
//! A message a person reads, plus fields; fields of the spans around it (`requestId`, `stripe.event.id`)
//! join the lines of one invocation and one event. Never a body, header value, secret, token or e-mail
//! address. A field named in [`METRICS`] is a measurement: CloudWatch reads it out of the line.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::config::Environment;

/// Where CloudWatch keeps the measurements, and the one dimension they have: every further combination
/// is a metric more to pay for.
pub const NAMESPACE: &str = "Tollgate";
const DIMENSION: &str = "Stage";

/// The measurements, by the name of the field that carries them, with CloudWatch's unit.
pub const METRICS: [(&str, &str); 25] = [
    ("WebhookApplied", COUNT),
    ("WebhookDuplicate", COUNT),
    ("WebhookNoChange", COUNT),
    ("WebhookIgnored", COUNT),
    ("WebhookPending", COUNT),
    ("WebhookParked", COUNT),
    ("WebhookFailed", COUNT),
    ("WebhookLatency", MILLISECONDS),
    ("SignatureFailed", COUNT),
    ("CheckoutCreated", COUNT),
    ("CheckoutCompleted", COUNT),
    ("CheckoutLatency", MILLISECONDS),
    ("PortalCreated", COUNT),
    ("PortalLatency", MILLISECONDS),
    ("ProfileLatency", MILLISECONDS),
    ("PaymentFailed", COUNT),
    ("AccessDenied", COUNT),
    ("StripeErrors", COUNT),
    ("StripeThrottled", COUNT),
    ("EventsRetried", COUNT),
    ("EventsPending", COUNT),
    ("EventsParked", COUNT),
    ("PendingAge", "Seconds"),
    ("Drift", COUNT),
    ("ReconcileLatency", MILLISECONDS),
];

const COUNT: &str = "Count";
const MILLISECONDS: &str = "Milliseconds";

/// Writes this process's log to standard output; a `main.rs` calls it first. `STAGE` tells the
/// measurements of one deployment from another's.
pub fn init(environment: &Environment, clock: fn() -> Timestamp) {
    let written =
        tracing::subscriber::set_global_default(subscriber(environment, clock, std::io::stdout));
    debug_assert!(written.is_ok(), "a main.rs calls this once");
}

/// The same, written somewhere else.
pub fn subscriber<W>(
    environment: &Environment,
    clock: fn() -> Timestamp,
    writer: W,
) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let stage = environment.get("STAGE").unwrap_or("local").to_owned();
    tracing_subscriber::fmt()
        .fmt_fields(JsonFields::new())
        .event_format(Lines { stage, clock })
        .with_max_level(tracing::Level::INFO)
        .with_writer(writer)
        .finish()
}

/// A measurement of how often something happened: 1 if it did, no field if it did not.
pub fn counted(happened: bool) -> Option<u64> {
    happened.then_some(1)
}

/// A measurement of how long something took, in milliseconds.
pub fn milliseconds_since(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// A field that Lambda's runtime adds and that says nothing while X-Ray is off: a sixth of the line.
const RUNTIME_TRACE_ID: &str = "xrayTraceId";

struct Lines {
    stage: String,
    clock: fn() -> Timestamp,
}

impl<S> FormatEvent<S, JsonFields> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now = (self.clock)();
        // What Lambda needs to filter lines by level: both names are its own.
        // <https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs-log-level.html>
        let mut line = Line::default();
        line.set("timestamp", format!("{now:.3}").into());
        line.set("level", event.metadata().level().as_str().into());
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let fields = fields.and_then(|fields| serde_json::from_str(&fields.fields).ok());
            if let Some(Value::Object(fields)) = fields {
                let fields = fields.into_iter();
                for (name, value) in fields.filter(|(name, _)| name != RUNTIME_TRACE_ID) {
                    line.set(&name, value);
                }
            }
        }
        event.record(&mut line);
        line.embed_metrics(&self.stage, now);
        let json = serde_json::to_string(&line).map_err(|_| fmt::Error)?;
        writeln!(writer, "{json}")
    }
}

/// The fields of one line, in the order in which they came.
#[derive(Default)]
struct Line(Vec<(String, Value)>);

impl Line {
    fn set(&mut self, name: &str, value: Value) {
        match self.0.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Says which fields are measurements, if there are any.
    fn embed_metrics(&mut self, stage: &str, now: Timestamp) {
        let measured: Vec<Value> = METRICS
            .iter()
            .filter(|(name, _)| self.0.iter().any(|(field, _)| field == name))
            .map(|(name, unit)| json!({"Name": name, "Unit": unit}))
            .collect();
        if measured.is_empty() {
            return;
        }
        self.set(DIMENSION, stage.into());
        let directive = json!({
            "Timestamp": now.as_millisecond(),
            "CloudWatchMetrics": [
                {"Namespace": NAMESPACE, "Dimensions": [[DIMENSION]], "Metrics": measured},
            ],
        });
        self.set("_aws", directive);
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(name_of(field), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(name_of(field), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(name_of(field), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(name_of(field), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(name_of(field), value.into());
    }
}

/// `r#type` is written `type`.
fn name_of(field: &Field) -> &'static str {
    let name = field.name();
    name.strip_prefix("r#").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn logged(work: impl FnOnce()) -> Vec<String> {
        let written = Arc::new(Mutex::new(Vec::new()));
        let environment = [("STAGE".to_owned(), "prod".to_owned())]
            .into_iter()
            .collect();
        let clock = || Timestamp::from_millisecond(1_790_000_000_250).unwrap();
        let sink = Sink(Arc::clone(&written));
        let subscriber = subscriber(&environment, clock, move || sink.clone());
        tracing::subscriber::with_default(subscriber, work);
        let written = written.lock().unwrap();
        String::from_utf8_lossy(&written)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    #[derive(Clone)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_carries_its_spans_its_fields_and_its_measurements() {
        let lines = logged(|| {
            let invocation =
                tracing::info_span!("invocation", requestId = "r-1", xrayTraceId = "Root=1");
            let event =
                tracing::info_span!(parent: &invocation, "event", stripe.event.id = "evt_1");
            event.in_scope(|| {
                tracing::info!(
                    outcome = "applied",
                    WebhookApplied = counted(true),
                    WebhookParked = counted(false),
                    WebhookLatency = 12_u64,
                    "event \"dealt\" with"
                );
            });
        });
        assert_eq!(
            lines,
            [concat!(
                r#"{"timestamp":"2026-09-21T14:13:20.250Z","level":"INFO","requestId":"r-1","#,
                r#""stripe.event.id":"evt_1","message":"event \"dealt\" with","outcome":"applied","#,
                r#""WebhookApplied":1,"WebhookLatency":12,"Stage":"prod","#,
                r#""_aws":{"CloudWatchMetrics":[{"Dimensions":[["Stage"]],"Metrics":["#,
                r#"{"Name":"WebhookApplied","Unit":"Count"},{"Name":"WebhookLatency","Unit":"Milliseconds"}],"#,
                r#""Namespace":"Tollgate"}],"Timestamp":1790000000250}}"#
            )]
        );
    }

    #[test]
    fn a_line_without_measurements_has_no_directive() {
        let lines = logged(|| {
            tracing::warn!(status = 500, fatal = false, error = %"no\nanswer", "Stripe failed");
            tracing::debug!("not said");
        });
        assert_eq!(
            lines,
            [concat!(
                r#"{"timestamp":"2026-09-21T14:13:20.250Z","level":"WARN","message":"Stripe failed","#,
                r#""status":500,"fatal":false,"error":"no\nanswer"}"#
            )]
        );
    }
}
