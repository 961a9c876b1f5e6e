//! Cursor pagination: <https://docs.stripe.com/api/pagination>.

use serde_json::{Value, json};

use crate::error::ApiError;
use crate::json::Fields;

/// One page of items that are sorted newest first.
pub(crate) fn page(items: &[&Value], params: &Value, url: &str) -> Result<Value, ApiError> {
    let limit = limit(params)?;
    let position = |cursor: &str| {
        let id = params.text(cursor);
        items
            .iter()
            .position(|item| item.text("id") == id)
            .ok_or_else(|| ApiError {
                status: 400,
                ..ApiError::missing("object", id, cursor)
            })
    };
    let (page, has_more) = if params.is_set("ending_before") {
        let newer = items.get(..position("ending_before")?).unwrap_or_default();
        let start = newer.len().saturating_sub(limit);
        (newer.get(start..).unwrap_or_default(), start > 0)
    } else {
        let start = if params.is_set("starting_after") {
            position("starting_after")? + 1
        } else {
            0
        };
        let older = items.get(start..).unwrap_or_default();
        (
            older.get(..limit.min(older.len())).unwrap_or_default(),
            older.len() > limit,
        )
    };
    Ok(json!({ "object": "list", "data": page, "has_more": has_more, "url": url }))
}

fn limit(params: &Value) -> Result<usize, ApiError> {
    let limit = params.get("limit").and_then(Value::as_i64).unwrap_or(10);
    let wrong = |words: &str| {
        ApiError::invalid(format!(
            "Invalid integer: {limit}. This value must be {words}."
        ))
        .code("parameter_invalid_integer")
        .param("limit")
    };
    match limit {
        ..=0 => Err(wrong("greater than or equal to 1")),
        101.. => Err(wrong("less than or equal to 100")),
        1..=100 => usize::try_from(limit).map_err(|_| wrong("a number")),
    }
}

/// Whether an item's members equal the parameters of the same names, as far as they are given.
pub(crate) fn matches(item: &Value, params: &Value, names: &[&str]) -> bool {
    names
        .iter()
        .all(|name| params.at(name).is_null() || params.at(name) == item.at(name))
}

/// Whether a time lies within the `created` parameter, which is a time or its bounds.
pub(crate) fn within(time: i64, range: &Value) -> bool {
    if let Some(exact) = range.as_i64() {
        return time == exact;
    }
    let bound = |name: &str| range.get(name).and_then(Value::as_i64);
    bound("gt").is_none_or(|bound| time > bound)
        && bound("gte").is_none_or(|bound| time >= bound)
        && bound("lt").is_none_or(|bound| time < bound)
        && bound("lte").is_none_or(|bound| time <= bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(page: &Value) -> Vec<&str> {
        page.items("data")
            .iter()
            .map(|item| item.text("id"))
            .collect()
    }

    #[test]
    fn pages_in_both_directions() {
        let all: Vec<Value> = ["e", "d", "c", "b", "a"]
            .iter()
            .map(|id| json!({"id": id}))
            .collect();
        let all: Vec<&Value> = all.iter().collect();
        let first = page(&all, &json!({"limit": 2}), "/v1/x").unwrap();
        assert_eq!(
            (ids(&first), first.flag("has_more")),
            (vec!["e", "d"], true)
        );
        let last = page(&all, &json!({"limit": 3, "starting_after": "d"}), "/v1/x").unwrap();
        assert_eq!(
            (ids(&last), last.flag("has_more")),
            (vec!["c", "b", "a"], false)
        );
        let back = page(&all, &json!({"limit": 2, "ending_before": "b"}), "/v1/x").unwrap();
        assert_eq!((ids(&back), back.flag("has_more")), (vec!["d", "c"], true));
    }

    #[test]
    fn limits_are_1_to_100() {
        for limit in [0, 101] {
            let error = page(&[], &json!({ "limit": limit }), "/v1/x").unwrap_err();
            assert_eq!(error.code.as_deref(), Some("parameter_invalid_integer"));
        }
        assert_eq!(
            page(&[], &json!({"starting_after": "no"}), "/v1/x")
                .unwrap_err()
                .status,
            400
        );
    }
}
