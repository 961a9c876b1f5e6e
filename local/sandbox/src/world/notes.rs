//! Small values kept with the data, and the rate limit that is one of them.

use serde_json::{Value, json};

use super::World;
use crate::error::ApiError;
use crate::json::Fields;

impl World {
    /// A small value kept with the data, e.g. the state of deliveries.
    pub fn kv_get(&self, key: &str) -> Option<&Value> {
        self.kv.get(key)
    }

    /// Keeps a small value.
    pub fn kv_put(&mut self, key: &str, value: Value) {
        self.changes.kv.insert(key.to_owned(), Some(value.clone()));
        self.kv.insert(key.to_owned(), value);
    }

    /// Forgets a small value.
    pub fn kv_delete(&mut self, key: &str) {
        if self.kv.remove(key).is_some() {
            self.changes.kv.insert(key.to_owned(), None);
        }
    }

    /// All small values whose key begins so, in the order of their keys.
    pub fn kv_scan(&self, prefix: &str) -> Vec<(String, Value)> {
        let range = self.kv.range(prefix.to_owned()..);
        let matching = range.take_while(|(key, _)| key.starts_with(prefix));
        matching
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Requests a second that an endpoint answers before it says 429; `None` for no limit.
    pub fn set_rate_limit(&mut self, per_second: Option<u32>) {
        match per_second {
            Some(limit) => self.kv_put("rate_limit", json!(limit)),
            None => self.kv_delete("rate_limit"),
        }
    }

    pub(crate) fn rate_limit(&self) -> Option<u64> {
        self.kv_get("rate_limit").and_then(Value::as_u64)
    }

    /// Idempotency keys are worth nothing after a day.
    pub(super) fn forget_keys(&mut self) {
        let old = self.now() - 86_400;
        for (key, kept) in self.kv_scan("idempotency/") {
            if kept.int("created") < old {
                self.kv_delete(&key);
            }
        }
    }

    /// Lets a request pass, or says 429.
    pub(crate) fn admit(&mut self, endpoint: &str) -> Result<(), ApiError> {
        let Some(limit) = self.rate_limit() else {
            return Ok(());
        };
        let now = self.now();
        let (second, count) = self.requests.entry(endpoint.to_owned()).or_default();
        if *second != now {
            (*second, *count) = (now, 0);
        }
        *count += 1;
        if *count <= limit {
            return Ok(());
        }
        Err(ApiError { status: 429, ..ApiError::invalid("Request rate limit exceeded. You can learn more about rate limits here https://stripe.com/docs/rate-limits.") }
            .code("rate_limit"))
    }
}
