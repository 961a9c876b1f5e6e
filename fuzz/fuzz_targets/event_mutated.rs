//! Proves of `event::Envelope::parse`, for real events that are bent anywhere: an event with its id, type,
//! time and object is never refused, whatever the object holds; it is acted on, ignored or not understood.
//! Members that nobody knows yet, and another order of members, change nothing.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use shared::event::{Content, Envelope};

#[derive(Arbitrary, Debug)]
struct Input {
    template: u8,
    type_of: Option<u8>,
    changes: [Option<Change>; 4],
    addition: u16,
}

#[derive(Arbitrary, Debug)]
struct Change {
    node: u16,
    to: To,
}

#[derive(Arbitrary, Debug)]
enum To {
    Null,
    Bool(bool),
    Number(i64),
    Huge(u64),
    Fraction,
    Text(String),
    Long(u16),
    EmptyArray,
    InArray,
    EmptyObject,
    Without(u8),
    Twice(u8),
}

/// The events of `events/stripe`: every type that is acted on, in every version.
static TEMPLATES: LazyLock<Vec<Value>> = LazyLock::new(|| {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../events/stripe");
    let entries = |folder: &Path| {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        paths.sort();
        paths
    };
    let versions = entries(Path::new(folder)).into_iter();
    let files = versions
        .filter(|version| version.is_dir())
        .flat_map(|version| entries(&version));
    let templates: Vec<Value> = files
        .map(|file| serde_json::from_slice(&fs::read(file).unwrap()).unwrap())
        .collect();
    assert!(!templates.is_empty());
    templates
});

fuzz_target!(|input: Input| {
    let mut event = TEMPLATES[usize::from(input.template) % TEMPLATES.len()].clone();
    if let Some(other) = input.type_of {
        event["type"] = TEMPLATES[usize::from(other) % TEMPLATES.len()]["type"].clone();
    }
    for change in input.changes.iter().flatten() {
        let count = nodes(&event);
        if let Some(node) = nth(&mut event, &mut (usize::from(change.node) % count)) {
            bend(node, &change.to);
        }
    }
    let parsed = Envelope::parse(event.to_string().as_bytes()).ok();
    if has_plain_frame(&event) {
        assert_eq!(parsed.is_some(), is_event(&event), "{event}");
    }

    let mut added = event.clone();
    let count = nodes(&added);
    let node = nth(&mut added, &mut (usize::from(input.addition) % count));
    if let Some(Value::Object(members)) = node {
        members.insert("a_member_of_tomorrow".to_owned(), Value::from("new"));
        let parsed_added = Envelope::parse(added.to_string().as_bytes()).ok();
        assert_same(&parsed, &parsed_added);
    }
    let mut reversed = String::new();
    write_reversed(&event, &mut reversed);
    assert_same(&parsed, &Envelope::parse(reversed.as_bytes()).ok());
});

/// The same but for why something was not understood: that names a line and a column.
fn assert_same(one: &Option<Envelope>, other: &Option<Envelope>) {
    let neutral = |envelope: &Option<Envelope>| {
        let mut envelope = envelope.clone()?;
        if let Content::NotUnderstood(why) = &mut envelope.content {
            why.clear();
        }
        Some(envelope)
    };
    assert_eq!(neutral(one), neutral(other));
}

/// What makes an event one: without these nobody could say which event it is, or of what.
fn is_event(event: &Value) -> bool {
    let is_text = |name: &str| event.get(name).is_some_and(Value::is_string);
    let is_text_or_null = |name: &str| is_text(name) || event.get(name).is_none_or(Value::is_null);
    let is_time = event["created"]
        .as_i64()
        .is_some_and(|created| (-377_705_023_201..=253_402_207_200).contains(&created));
    is_text("id")
        && is_text("type")
        && is_time
        && event["livemode"].is_boolean()
        && is_text_or_null("account")
        && is_text_or_null("api_version")
        && !event["data"]["object"].is_null()
}

/// A time as text may be one or not, by rules of its own; otherwise the members around the object decide.
fn has_plain_frame(event: &Value) -> bool {
    !event["created"].is_string()
}

fn bend(node: &mut Value, to: &To) {
    let members = |node: &mut Value, at: &u8, change: fn(&mut Map<String, Value>, String)| {
        if let Value::Object(members) = node
            && let Some(name) = members.keys().nth(usize::from(*at)).cloned()
        {
            change(members, name);
        }
    };
    match to {
        To::Null => *node = Value::Null,
        To::Bool(value) => *node = (*value).into(),
        To::Number(value) => *node = (*value).into(),
        To::Huge(value) => *node = (*value).into(),
        To::Fraction => *node = 0.5.into(),
        To::Text(text) => *node = text.as_str().into(),
        To::Long(length) => *node = "x".repeat(usize::from(*length)).into(),
        To::EmptyArray => *node = Value::Array(Vec::new()),
        To::InArray => *node = Value::Array(vec![node.take()]),
        To::EmptyObject => *node = Value::Object(Map::new()),
        To::Without(at) => members(node, at, |members, name| {
            members.remove(&name);
        }),
        To::Twice(at) => members(node, at, |members, name| {
            let value = members[&name].clone();
            members.insert(format!("{name}_details"), value);
        }),
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Object(members) => members.values().map(nodes).sum(),
        Value::Array(entries) => entries.iter().map(nodes).sum(),
        _ => 0,
    }
}

/// The node of that number, counted from the root down.
fn nth<'v>(value: &'v mut Value, number: &mut usize) -> Option<&'v mut Value> {
    if *number == 0 {
        return Some(value);
    }
    *number -= 1;
    match value {
        Value::Object(members) => members.values_mut().find_map(|value| nth(value, number)),
        Value::Array(entries) => entries.iter_mut().find_map(|value| nth(value, number)),
        _ => None,
    }
}

fn write_reversed(value: &Value, into: &mut String) {
    match value {
        Value::Object(members) => {
            into.push('{');
            for (index, (name, value)) in members.iter().rev().enumerate() {
                into.push_str(if index == 0 { "" } else { "," });
                into.push_str(&Value::from(name.as_str()).to_string());
                into.push(':');
                write_reversed(value, into);
            }
            into.push('}');
        }
        Value::Array(entries) => {
            into.push('[');
            for (index, value) in entries.iter().enumerate() {
                into.push_str(if index == 0 { "" } else { "," });
                write_reversed(value, into);
            }
            into.push(']');
        }
        other => into.push_str(&other.to_string()),
    }
}
