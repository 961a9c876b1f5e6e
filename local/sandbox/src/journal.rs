//! The SQLite file behind `World`: written through, one transaction for each request, read once at the start.
//!
//! A killed process loses nothing that was answered. It knows nothing about Stripe; values are JSON text.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, params};
use serde_json::Value;

/// Changes since the last commit, of each object and key only the latest.
#[derive(Default)]
pub(crate) struct Changes {
    pub(crate) objects: BTreeMap<String, (u64, Option<Value>)>,
    pub(crate) events: Vec<(u64, Value)>,
    pub(crate) kv: BTreeMap<String, Option<Value>>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.events.is_empty() && self.kv.is_empty()
    }
}

/// All that a data file holds.
pub(crate) struct Contents {
    pub(crate) objects: Vec<(String, u64, Value)>,
    pub(crate) events: Vec<(u64, Value)>,
    pub(crate) kv: Vec<(String, Value)>,
}

pub(crate) struct Journal {
    connection: Connection,
}

impl Journal {
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, crate::Error> {
        let connection = match path {
            Some(path) => {
                if let Some(parent) = path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                Connection::open(path)?
            }
            None => Connection::open_in_memory()?,
        };
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // In WAL mode this survives a killed process; only a power cut can lose the last moments.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(
            "CREATE TABLE IF NOT EXISTS objects (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, value TEXT NOT NULL);
             CREATE TABLE IF NOT EXISTS events (seq INTEGER PRIMARY KEY, value TEXT NOT NULL);
             CREATE TABLE IF NOT EXISTS kv (key TEXT PRIMARY KEY, value TEXT NOT NULL);",
        )?;
        Ok(Self { connection })
    }

    pub(crate) fn read(&self) -> Result<Contents, crate::Error> {
        let mut objects = Vec::new();
        let mut statement = self
            .connection
            .prepare("SELECT id, seq, value FROM objects ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text: String = row.get(2)?;
            objects.push((row.get(0)?, row.get(1)?, serde_json::from_str(&text)?));
        }
        let mut events = Vec::new();
        let mut statement = self
            .connection
            .prepare("SELECT seq, value FROM events ORDER BY seq")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text: String = row.get(1)?;
            events.push((row.get(0)?, serde_json::from_str(&text)?));
        }
        let mut kv = Vec::new();
        let mut statement = self.connection.prepare("SELECT key, value FROM kv")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let text: String = row.get(1)?;
            kv.push((row.get(0)?, serde_json::from_str(&text)?));
        }
        Ok(Contents {
            objects,
            events,
            kv,
        })
    }

    pub(crate) fn write(&mut self, changes: &Changes) -> Result<(), rusqlite::Error> {
        let transaction = self.connection.transaction()?;
        for (id, (seq, value)) in &changes.objects {
            match value {
                Some(value) => transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO objects (id, seq, value) VALUES (?1, ?2, ?3)",
                    )?
                    .execute(params![id, seq, value.to_string()])?,
                None => transaction
                    .prepare_cached("DELETE FROM objects WHERE id = ?1")?
                    .execute(params![id])?,
            };
        }
        for (seq, event) in &changes.events {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO events (seq, value) VALUES (?1, ?2)")?
                .execute(params![seq, event.to_string()])?;
        }
        for (key, value) in &changes.kv {
            match value {
                Some(value) => transaction
                    .prepare_cached("INSERT OR REPLACE INTO kv (key, value) VALUES (?1, ?2)")?
                    .execute(params![key, value.to_string()])?,
                None => transaction
                    .prepare_cached("DELETE FROM kv WHERE key = ?1")?
                    .execute(params![key])?,
            };
        }
        transaction.commit()
    }
}
