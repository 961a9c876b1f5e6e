//! Ids, times and addresses of a run replaced by ones that stay, so that a file changes only when its shape
//! does.

use std::collections::HashMap;

use serde_json::{Value, json};

/// The shortest run of letters and digits that can be random; Stripe's words are shorter or lower-case.
const RANDOM_LENGTH_MIN: usize = 14;

/// What a year's worth of seconds since 1970 looks like, and no amount of money in the files does.
const SECONDS: std::ops::Range<i64> = 1_600_000_000..3_000_000_000;

/// Replaces alike whatever was alike, over all values that one run gives it.
pub(super) struct Stable {
    shift: i64,
    addresses: Vec<(String, &'static str)>,
    known: HashMap<String, String>,
    counts: HashMap<String, usize>,
}

impl Stable {
    /// `first` becomes `start`, and every other moment keeps its distance.
    pub(super) fn new(first: i64, start: i64, addresses: Vec<(String, &'static str)>) -> Self {
        Self {
            shift: start - first,
            addresses,
            known: HashMap::new(),
            counts: HashMap::new(),
        }
    }

    pub(super) fn value(&mut self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(&text)),
            Value::Number(number) => match number.as_i64() {
                Some(at) if SECONDS.contains(&at) => json!(at + self.shift),
                _ => Value::Number(number),
            },
            Value::Array(values) => values.into_iter().map(|value| self.value(value)).collect(),
            Value::Object(members) => members
                .into_iter()
                .map(|(name, value)| match (name.as_str(), value.as_str()) {
                    ("invoice_prefix", Some(_)) => (name, json!("EXAMPLE")),
                    ("number", Some(number)) => {
                        let count = number.rsplit('-').next().unwrap_or_default();
                        let number = format!("EXAMPLE-{count}");
                        (name, json!(number))
                    }
                    ("idempotency_key", Some(_)) => (name, json!("tollgate-example")),
                    _ => (name, self.value(value)),
                })
                .collect(),
            Value::Null | Value::Bool(_) => value,
        }
    }

    fn text(&mut self, text: &str) -> String {
        let mut text = text.to_owned();
        for (address, stays) in &self.addresses {
            text = text.replace(address, stays);
        }
        let mut stable = String::new();
        let mut before = String::new();
        for segment in text.split_inclusive(|sign: char| !sign.is_ascii_alphanumeric()) {
            let (word, end) = match segment.char_indices().next_back() {
                Some((at, sign)) if !sign.is_ascii_alphanumeric() => segment.split_at(at),
                _ => (segment, ""),
            };
            stable.push_str(&self.word(word, &before));
            stable.push_str(end);
            before = if end == "_" {
                word.to_owned()
            } else {
                String::new()
            };
        }
        stable
    }

    /// A random word by its number among those of the same prefix; any other word as it is.
    fn word(&mut self, word: &str, prefix: &str) -> String {
        let is_random = word.len() >= RANDOM_LENGTH_MIN
            && word
                .chars()
                .any(|sign| sign.is_ascii_digit() || sign.is_ascii_uppercase());
        if !is_random {
            return word.to_owned();
        }
        if let Some(known) = self.known.get(word) {
            return known.clone();
        }
        let count = self.counts.entry(prefix.to_owned()).or_default();
        *count += 1;
        let stays = format!("{count:014}");
        self.known.insert(word.to_owned(), stays.clone());
        stays
    }
}

#[test]
fn what_is_alike_stays_alike_and_distances_stay() {
    let mut stable = Stable::new(
        1_700_000_000,
        1_790_000_000,
        vec![("http://localhost:4711".to_owned(), "http://localhost:12111")],
    );
    let made = stable.value(json!({
        "id": "sub_1AbCdEfGhIjKlMnOp", "of": ["cus_AbCdEfGhIjKlMn", "cus_OtherRandom000"], "again": "cus_AbCdEfGhIjKlMn",
        "url": "http://localhost:4711/c/pay/cs_test_a1AbCdEfGhIjKlMnOp", "at": 1_700_000_060, "amount": 2900,
        "billing_reason": "subscription_cycle", "number": "QWERTZUI-0003",
    }));
    assert_eq!(
        made,
        json!({
            "id": "sub_00000000000001", "of": ["cus_00000000000001", "cus_00000000000002"], "again": "cus_00000000000001",
            "url": "http://localhost:12111/c/pay/cs_test_00000000000001", "at": 1_790_000_060, "amount": 2900,
            "billing_reason": "subscription_cycle", "number": "EXAMPLE-0003",
        })
    );
}
