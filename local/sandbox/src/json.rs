//! Reading and writing members of a JSON value by path (`a/b/0/c`) without a chance to panic.

use serde_json::{Map, Value};

static NULL: Value = Value::Null;

/// Members by slash-separated path; what is absent reads as null, empty or zero.
pub(crate) trait Fields {
    fn at(&self, path: &str) -> &Value;
    fn text(&self, path: &str) -> &str;
    fn int(&self, path: &str) -> i64;
    fn flag(&self, path: &str) -> bool;
    fn items(&self, path: &str) -> &[Value];
    fn is_set(&self, path: &str) -> bool;
    /// Sets a member, making objects on the way.
    fn set(&mut self, path: &str, value: impl Into<Value>);
}

impl Fields for Value {
    fn at(&self, path: &str) -> &Value {
        path.split('/')
            .try_fold(self, |value, key| match value {
                Value::Array(items) => items.get(key.parse::<usize>().ok()?),
                Value::Object(members) => members.get(key),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
            })
            .unwrap_or(&NULL)
    }

    fn text(&self, path: &str) -> &str {
        self.at(path).as_str().unwrap_or_default()
    }

    fn int(&self, path: &str) -> i64 {
        self.at(path).as_i64().unwrap_or_default()
    }

    fn flag(&self, path: &str) -> bool {
        self.at(path).as_bool().unwrap_or_default()
    }

    fn items(&self, path: &str) -> &[Value] {
        self.at(path)
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    fn is_set(&self, path: &str) -> bool {
        !self.at(path).is_null()
    }

    fn set(&mut self, path: &str, value: impl Into<Value>) {
        let mut here = self;
        for key in path.split('/') {
            here = match here {
                Value::Array(items) => {
                    let Some(item) = key
                        .parse::<usize>()
                        .ok()
                        .and_then(|index| items.get_mut(index))
                    else {
                        return;
                    };
                    item
                }
                Value::Object(members) => members.entry(key).or_insert(Value::Null),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                    *here = Value::Object(Map::new());
                    let Value::Object(members) = here else { return };
                    members.entry(key).or_insert(Value::Null)
                }
            };
        }
        *here = value.into();
    }
}

/// The object as others may see it: members whose name begins with `_` are the sandbox's own notes.
pub(crate) fn public(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .filter(|(name, _)| !name.starts_with('_'))
            .map(|(name, value)| (name.clone(), public(value)))
            .collect(),
        Value::Array(items) => items.iter().map(public).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
