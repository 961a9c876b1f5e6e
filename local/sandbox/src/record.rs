//! Recordings for Stripe's own document to judge: requests, objects and events as JSON lines.
//!
//! A recording that cannot be written is reported and never fails a request.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

pub(crate) struct Record {
    requests: Mutex<File>,
    objects: Mutex<File>,
    events: Mutex<File>,
}

impl Record {
    pub(crate) fn open(directory: &Path) -> Result<Self, std::io::Error> {
        std::fs::create_dir_all(directory)?;
        let file = |name: &str| {
            OpenOptions::new()
                .create(true)
                .append(true)
                .open(directory.join(name))
                .map(Mutex::new)
        };
        Ok(Self {
            requests: file("requests.jsonl")?,
            objects: file("objects.jsonl")?,
            events: file("events.jsonl")?,
        })
    }

    pub(crate) fn request(&self, request: &Value) {
        append(&self.requests, request);
    }

    pub(crate) fn object(&self, object: &Value) {
        append(&self.objects, object);
    }

    pub(crate) fn event(&self, event: &Value) {
        append(&self.events, event);
    }
}

fn append(file: &Mutex<File>, value: &Value) {
    let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = file.write_all(format!("{value}\n").as_bytes()) {
        tracing::warn!(%error, "the sandbox could not write its recording");
    }
}
