//! Form-encoded bodies and queries: `a[b][0][c]=x` becomes nested JSON whose leaves are strings.
//!
//! Lists stay objects with numbers for keys; `spec` knows which members are lists and turns them into arrays.

use serde_json::{Map, Value};

/// Reads a form. What cannot be a parameter name is kept as one flat name and refused later as unknown.
pub(crate) fn parse(text: &str) -> Value {
    let mut root = Value::Object(Map::new());
    for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
        let keys = keys(&name);
        if let (Value::Object(members), Some((first, rest))) = (&mut root, keys.split_first()) {
            insert(
                members.entry(*first).or_insert(Value::Null),
                rest,
                value.into_owned(),
            );
        }
    }
    root
}

fn keys(name: &str) -> Vec<&str> {
    let Some((first, rest)) = name.split_once('[') else {
        return vec![name];
    };
    let Some(rest) = rest.strip_suffix(']') else {
        return vec![name];
    };
    std::iter::once(first).chain(rest.split("][")).collect()
}

fn insert(node: &mut Value, keys: &[&str], value: String) {
    let Some((key, rest)) = keys.split_first() else {
        *node = Value::String(value);
        return;
    };
    if !node.is_object() {
        *node = Value::Object(Map::new());
    }
    let Value::Object(members) = node else { return };
    // `a[]=x` appends.
    let key = if key.is_empty() {
        members.len().to_string()
    } else {
        (*key).to_owned()
    };
    insert(members.entry(key).or_insert(Value::Null), rest, value);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nested_names() {
        assert_eq!(
            parse("a=1&b[c]=x%20y&d[0][e]=p&d[1][e]=q&f[]=1&f[]=2"),
            json!({
                "a": "1", "b": {"c": "x y"}, "d": {"0": {"e": "p"}, "1": {"e": "q"}}, "f": {"0": "1", "1": "2"},
            })
        );
    }

    #[test]
    fn odd_names_stay_flat() {
        assert_eq!(parse("a[b=1&=2"), json!({"a[b": "1", "": "2"}));
    }
}
