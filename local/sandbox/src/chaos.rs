//! What the network and Stripe do to deliveries on a bad day, on request and repeatable by a seed.
//!
//! A plan is drawn per event and target from the seed and the ordinal of the event since the chaos began, so that the
//! same history under the same seed meets the same faults. This module decides; `delivery` carries it out.

use serde_json::{Map, Number, Value};

use crate::versions;

const DELAY_LIMIT_MS: u64 = 60_000;

/// Events that fall into the same stretch of this many seconds share one `created` under `same_second`.
const SAME_SECOND_WINDOW: i64 = 10;

/// A validated request to shape deliveries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chaos {
    seed: u64,
    duplicate: PerMille,
    reorder: PerMille,
    drop: PerMille,
    delay_ms: u64,
    same_second: bool,
    api_version: Option<String>,
}

/// What happens to one event on its way to one target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The event is lost: nothing is sent, now or later.
    pub(crate) dropped: bool,
    /// One entry per copy that is sent: how long it is held back, in milliseconds.
    pub(crate) copies: Vec<u64>,
    /// The faults by name, for the record of deliveries.
    pub(crate) applied: Vec<String>,
    /// Rendered in this version in place of the target's own.
    pub(crate) api_version: Option<String>,
    /// `created` is rounded up to the end of its window.
    pub(crate) same_second: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct PerMille(u16);

impl Plan {
    /// The plan of an ordinary day.
    pub(crate) fn undisturbed() -> Self {
        Self {
            dropped: false,
            copies: vec![0],
            applied: Vec::new(),
            api_version: None,
            same_second: false,
        }
    }
}

impl Chaos {
    /// Reads the body of `POST /_sandbox/chaos`; `{}` is `None`. The error names the field.
    pub(crate) fn parse(body: &Map<String, Value>) -> Result<Option<Self>, String> {
        if body.is_empty() {
            return Ok(None);
        }
        let mut chaos = Self::default();
        for (field, value) in body {
            match field.as_str() {
                "seed" => {
                    chaos.seed = value
                        .as_u64()
                        .ok_or("seed: must be a whole number, 0 or more")?
                }
                "duplicate" => chaos.duplicate = PerMille::parse(field, value)?,
                "reorder" => chaos.reorder = PerMille::parse(field, value)?,
                "drop" => chaos.drop = PerMille::parse(field, value)?,
                "delay_ms" => chaos.delay_ms = parse_delay(value)?,
                "same_second" => {
                    chaos.same_second = value
                        .as_bool()
                        .ok_or("same_second: must be true or false")?
                }
                "api_version" => chaos.api_version = Some(parse_version(value)?),
                other => return Err(format!("{other}: unknown field")),
            }
        }
        Ok(Some(chaos))
    }

    /// What happens to the `ordinal`-th event since the chaos began.
    pub(crate) fn plan(&self, ordinal: u64) -> Plan {
        let mut rng =
            fastrand::Rng::with_seed(self.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ ordinal);
        // Every draw is made every time: switching one fault on does not change where the others strike.
        let dropped = self.drop.strikes(&mut rng);
        let duplicated = self.duplicate.strikes(&mut rng);
        let reordered = self.reorder.strikes(&mut rng);
        let held_back = rng.u64(100..=400);
        let delays = [rng.u64(0..=self.delay_ms), rng.u64(0..=self.delay_ms)];

        let mut applied = Vec::new();
        let mut note = |yes: bool, fault: &str| {
            if yes {
                applied.push(fault.to_owned());
            }
        };
        note(dropped, "drop");
        note(duplicated, "duplicate");
        note(reordered, "reorder");
        note(self.delay_ms > 0, "delay_ms");
        note(self.same_second, "same_second");
        note(self.api_version.is_some(), "api_version");

        let back = if reordered { held_back } else { 0 };
        let copies = delays
            .iter()
            .take(if duplicated { 2 } else { 1 })
            .map(|delay| delay.saturating_add(back))
            .collect();
        Plan {
            dropped,
            copies,
            applied,
            api_version: self.api_version.clone(),
            same_second: self.same_second,
        }
    }
}

/// The `created` that an event shows under `same_second`.
///
/// Rounded up, never down: no real event claims to be older than what it tells of.
pub(crate) fn shared_second(created: i64) -> i64 {
    created
        .saturating_add(SAME_SECOND_WINDOW - 1)
        .div_euclid(SAME_SECOND_WINDOW)
        .saturating_mul(SAME_SECOND_WINDOW)
}

impl PerMille {
    fn parse(field: &str, value: &Value) -> Result<Self, String> {
        let error =
            || format!("{field}: must be a probability from 0 to 1 with at most three decimals");
        let number = value.as_number().ok_or_else(error)?;
        Self::from_decimal(number).ok_or_else(error)
    }

    /// Reads the digits: floating point would make 0.3 something else.
    fn from_decimal(number: &Number) -> Option<Self> {
        let text = number.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let fraction = fraction.trim_end_matches('0');
        if fraction.len() > 3 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
            return None;
        }
        let thousandths: u16 = format!("{fraction:0<3}").parse().ok()?;
        match (whole, thousandths) {
            ("0", _) => Some(Self(thousandths)),
            ("1", 0) => Some(Self(1000)),
            (_, _) => None,
        }
    }

    fn strikes(self, rng: &mut fastrand::Rng) -> bool {
        rng.u16(0..1000) < self.0
    }
}

fn parse_delay(value: &Value) -> Result<u64, String> {
    value
        .as_u64()
        .filter(|delay| *delay <= DELAY_LIMIT_MS)
        .ok_or_else(|| format!("delay_ms: must be a whole number from 0 to {DELAY_LIMIT_MS}"))
}

fn parse_version(value: &Value) -> Result<String, String> {
    value
        .as_str()
        .filter(|version| versions::KNOWN.contains(version))
        .map(str::to_owned)
        .ok_or_else(|| format!("api_version: must be one of {}", versions::KNOWN.join(", ")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(body: Value) -> Result<Option<Chaos>, String> {
        Chaos::parse(body.as_object().unwrap())
    }

    #[test]
    fn probabilities_are_read_by_their_digits() {
        for (value, thousandths) in [
            (json!(0), 0),
            (json!(0.3), 300),
            (json!(0.001), 1),
            (json!(0.55), 550),
            (json!(1), 1000),
            (json!(1.0), 1000),
        ] {
            assert_eq!(
                parse(json!({"drop": value})).unwrap().unwrap().drop,
                PerMille(thousandths)
            );
        }
        for value in [
            json!(1.1),
            json!(-0.1),
            json!(2),
            json!(0.0001),
            json!(1e-7),
            json!("0.3"),
            json!(null),
        ] {
            assert!(
                parse(json!({"drop": value}))
                    .unwrap_err()
                    .starts_with("drop:"),
                "{value}"
            );
        }
    }

    #[test]
    fn nothing_ends_it_and_the_unknown_is_refused() {
        assert_eq!(parse(json!({})).unwrap(), None);
        assert_eq!(
            parse(json!({"dorp": 1})).unwrap_err(),
            "dorp: unknown field"
        );
        assert!(
            parse(json!({"api_version": "2019-01-01"}))
                .unwrap_err()
                .starts_with("api_version:")
        );
        assert!(
            parse(json!({"delay_ms": 60_001}))
                .unwrap_err()
                .starts_with("delay_ms:")
        );
        assert!(parse(json!({"seed": -1})).unwrap_err().starts_with("seed:"));
        assert!(
            parse(json!({"same_second": 1}))
                .unwrap_err()
                .starts_with("same_second:")
        );
    }

    #[test]
    fn the_same_seed_meets_the_same_faults() {
        let chaos = parse(
            json!({"seed": 7, "duplicate": 0.3, "reorder": 0.5, "drop": 0.1, "delay_ms": 500}),
        )
        .unwrap()
        .unwrap();
        let plans: Vec<Plan> = (0..1000).map(|ordinal| chaos.plan(ordinal)).collect();
        assert_eq!(
            plans,
            (0..1000)
                .map(|ordinal| chaos.plan(ordinal))
                .collect::<Vec<_>>()
        );

        let count = |fault: &str| {
            plans
                .iter()
                .filter(|plan| plan.applied.iter().any(|name| name == fault))
                .count()
        };
        assert!((50..150).contains(&count("drop")), "{}", count("drop"));
        assert!(
            (250..350).contains(&count("duplicate")),
            "{}",
            count("duplicate")
        );
        assert!(
            (430..570).contains(&count("reorder")),
            "{}",
            count("reorder")
        );

        let other = parse(
            json!({"seed": 8, "duplicate": 0.3, "reorder": 0.5, "drop": 0.1, "delay_ms": 500}),
        )
        .unwrap()
        .unwrap();
        assert_ne!(
            plans,
            (0..1000)
                .map(|ordinal| other.plan(ordinal))
                .collect::<Vec<_>>()
        );
    }

    #[test]
    fn a_certain_fault_always_strikes() {
        let chaos = parse(json!({"drop": 1, "duplicate": 1})).unwrap().unwrap();
        assert!((0..200).all(|ordinal| chaos.plan(ordinal).dropped && chaos.plan(ordinal).copies.len() == 2));
        let calm = parse(json!({"seed": 3})).unwrap().unwrap();
        assert!((0..200).all(|ordinal| calm.plan(ordinal) == Plan::undisturbed()));
    }

    #[test]
    fn a_shared_second_is_never_earlier() {
        assert_eq!(
            [20, 21, 29, 30, 31].map(shared_second),
            [20, 30, 30, 30, 40]
        );
    }
}
