//! Which parameters each endpoint takes, read from `parameters.txt`; all others are refused as Stripe refuses them.
//!
//! Checking also types the values: what a handler gets are integers, booleans, lists and objects instead of strings.

mod notation;

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::error::ApiError;

/// One endpoint of the API.
pub(crate) struct Endpoint {
    pub(crate) method: &'static str,
    pub(crate) path: &'static str,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    required: bool,
    shape: Shape,
}

enum Shape {
    Text,
    Integer,
    Boolean,
    Any,
    /// Strings by name.
    Map,
    MapOf(Box<Shape>),
    Words {
        words: Vec<&'static str>,
        or_integer: bool,
    },
    List(Box<Shape>),
    Object(Vec<Field>),
    Range,
    /// An empty string clears it.
    Clearable(Box<Shape>),
}

static ENDPOINTS: LazyLock<Vec<Endpoint>> =
    LazyLock::new(|| notation::read(include_str!("parameters.txt")));

/// The endpoint of a path, and the ids in it.
pub(crate) fn endpoint<'p>(
    method: &str,
    path: &'p str,
) -> Option<(&'static Endpoint, Vec<&'p str>)> {
    let given: Vec<&str> = path.split('/').collect();
    ENDPOINTS
        .iter()
        .filter(|endpoint| endpoint.method == method)
        .find_map(|endpoint| {
            let pattern: Vec<&str> = endpoint.path.split('/').collect();
            if pattern.len() != given.len() {
                return None;
            }
            let mut ids = Vec::new();
            for (wanted, given) in pattern.iter().zip(&given) {
                if wanted.starts_with('{') && !given.is_empty() {
                    ids.push(*given);
                } else if wanted != given {
                    return None;
                }
            }
            Some((endpoint, ids))
        })
}

/// Checks a parsed form and types its values.
pub(crate) fn check(endpoint: &Endpoint, form: &Value) -> Result<Value, ApiError> {
    object(&endpoint.fields, form, "")
}

fn object(fields: &[Field], given: &Value, path: &str) -> Result<Value, ApiError> {
    let name_of = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}[{name}]")
        }
    };
    let Value::Object(given) = given else {
        return Err(ApiError::invalid("Invalid object").param(path));
    };
    let mut typed = Map::new();
    for (name, value) in given {
        let full = name_of(name);
        let Some(field) = fields.iter().find(|field| field.name == name) else {
            return Err(
                ApiError::invalid(format!("Received unknown parameter: {full}"))
                    .code("parameter_unknown")
                    .param(&full),
            );
        };
        if field.required && value.as_str() == Some("") {
            return Err(empty(&full));
        }
        typed.insert(name.clone(), convert(&field.shape, value, &full)?);
    }
    if let Some(field) = fields
        .iter()
        .find(|field| field.required && !typed.contains_key(field.name))
    {
        let full = name_of(field.name);
        return Err(missing(&full));
    }
    Ok(Value::Object(typed))
}

pub(crate) fn missing(param: &str) -> ApiError {
    ApiError::invalid(format!("Missing required param: {param}."))
        .code("parameter_missing")
        .param(param)
}

fn empty(param: &str) -> ApiError {
    ApiError::invalid(format!(
        "You passed an empty string for '{param}'. We assume empty values are an attempt to unset a parameter; however \
         '{param}' cannot be unset. You should remove '{param}' from your request or supply a non-empty value."
    ))
    .code("parameter_invalid_empty")
    .param(param)
}

fn convert(shape: &Shape, value: &Value, path: &str) -> Result<Value, ApiError> {
    let text = || {
        value
            .as_str()
            .ok_or_else(|| ApiError::invalid("Invalid string").param(path))
    };
    match shape {
        Shape::Any => Ok(arrays(value)),
        Shape::Text => Ok(match text()? {
            "" => Value::Null,
            text => json!(text),
        }),
        Shape::Integer => integer(text()?, path),
        Shape::Boolean => match text()? {
            "true" | "1" => Ok(json!(true)),
            "false" | "0" => Ok(json!(false)),
            other => Err(ApiError::invalid(format!("Invalid boolean: {other}")).param(path)),
        },
        Shape::Clearable(_) if value.as_str() == Some("") => Ok(Value::Null),
        Shape::Clearable(shape) => convert(shape, value, path),
        Shape::Words { words, or_integer } => word(words, *or_integer, text()?, path),
        Shape::Map => by_name(&Shape::Text, value, path),
        Shape::MapOf(shape) => by_name(shape, value, path),
        Shape::List(shape) => list(shape, value, path),
        Shape::Object(fields) => object(fields, value, path),
        Shape::Range => match value {
            Value::String(text) => integer(text, path),
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::Array(_)
            | Value::Object(_) => object(&RANGE, value, path),
        },
    }
}

static RANGE: LazyLock<Vec<Field>> =
    LazyLock::new(|| notation::fields("gt: i, gte: i, lt: i, lte: i"));

fn integer(text: &str, path: &str) -> Result<Value, ApiError> {
    text.parse::<i64>().map(Value::from).map_err(|_| {
        ApiError::invalid(format!("Invalid integer: {text}"))
            .code("parameter_invalid_integer")
            .param(path)
    })
}

fn word(words: &[&str], or_integer: bool, text: &str, path: &str) -> Result<Value, ApiError> {
    if words.contains(&text) {
        return Ok(json!(text));
    }
    if or_integer {
        return integer(text, path);
    }
    let (last, others) = words.split_last().unwrap_or((&"", &[]));
    let one_of = if others.is_empty() {
        (*last).to_owned()
    } else {
        format!("{}, or {last}", others.join(", "))
    };
    Err(ApiError::invalid(format!("Invalid {path}: must be one of {one_of}")).param(path))
}

fn by_name(shape: &Shape, value: &Value, path: &str) -> Result<Value, ApiError> {
    match value {
        // An empty string empties the map.
        Value::String(text) if text.is_empty() => Ok(Value::Null),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| {
                Ok((
                    name.clone(),
                    convert(shape, value, &format!("{path}[{name}]"))?,
                ))
            })
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::String(_) => {
            Err(ApiError::invalid("Invalid hash")
                .code("parameter_invalid_empty")
                .param(path))
        }
    }
}

fn list(shape: &Shape, value: &Value, path: &str) -> Result<Value, ApiError> {
    let invalid = || ApiError::invalid("Invalid array").param(path);
    let Value::Object(members) = value else {
        return Err(invalid());
    };
    let mut items = Vec::new();
    for (name, value) in members {
        let index: usize = name.parse().map_err(|_| invalid())?;
        items.push((index, convert(shape, value, &format!("{path}[{index}]"))?));
    }
    items.sort_by_key(|(index, _)| *index);
    Ok(items.into_iter().map(|(_, value)| value).collect())
}

/// Turns objects whose names are 0, 1, 2 … into arrays, where no shape says it.
fn arrays(value: &Value) -> Value {
    let Value::Object(members) = value else {
        return value.clone();
    };
    let indexed: Option<Vec<&Value>> = (0..members.len())
        .map(|index| members.get(&index.to_string()))
        .collect();
    match indexed {
        Some(items) if !items.is_empty() => items.into_iter().map(arrays).collect(),
        _ => members
            .iter()
            .map(|(name, value)| (name.clone(), arrays(value)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form;

    fn check_form(method: &str, path: &str, text: &str) -> Result<Value, ApiError> {
        check(endpoint(method, path).unwrap().0, &form::parse(text))
    }

    #[test]
    fn every_paragraph_is_read() {
        let paragraphs = include_str!("parameters.txt")
            .split("\n\n")
            .filter(|text| text.contains("/v1/"))
            .count();
        assert_eq!(ENDPOINTS.len(), paragraphs);
    }

    #[test]
    fn values_are_typed() {
        let typed = check_form(
            "POST",
            "/v1/checkout/sessions",
            "mode=subscription&line_items[0][price]=price_1&line_items[0][quantity]=2&allow_promotion_codes=true\
             &subscription_data[metadata][user]=7&subscription_data[trial_period_days]=14",
        );
        assert_eq!(
            typed.unwrap(),
            json!({
                "mode": "subscription", "line_items": [{"price": "price_1", "quantity": 2}],
                "allow_promotion_codes": true,
                "subscription_data": {"metadata": {"user": "7"}, "trial_period_days": 14},
            })
        );
    }

    #[test]
    fn refusals_name_the_parameter() {
        let unknown =
            check_form("POST", "/v1/checkout/sessions", "line_items[0][pric]=x").unwrap_err();
        assert_eq!(unknown.code.as_deref(), Some("parameter_unknown"));
        assert_eq!(unknown.param.as_deref(), Some("line_items[0][pric]"));
        let missing = check_form("POST", "/v1/prices", "unit_amount=1").unwrap_err();
        assert_eq!(missing.code.as_deref(), Some("parameter_missing"));
        let integer = check_form("GET", "/v1/customers", "limit=ten").unwrap_err();
        assert_eq!(integer.code.as_deref(), Some("parameter_invalid_integer"));
        let word = check_form("POST", "/v1/checkout/sessions", "mode=rent").unwrap_err();
        assert_eq!(
            word.message,
            "Invalid mode: must be one of payment, setup, or subscription"
        );
    }

    #[test]
    fn ids_are_found_in_paths() {
        let (found, ids) = endpoint("POST", "/v1/customers/cus_1").unwrap();
        assert_eq!(
            (found.path, ids),
            ("/v1/customers/{customer}", vec!["cus_1"])
        );
        assert!(
            endpoint("POST", "/v1/invoices/create_preview")
                .unwrap()
                .1
                .is_empty()
        );
    }
}
