//! The files under `events/`: each is what its sender makes, is answered, and is understood.
//!
//! `TOLLGATE_WRITE_EVENTS=1 cargo test -p tests files_are_what_their_senders_make` writes them anew, a
//! payload only when its shape has changed. Without the variable the same test compares: inputs of Lambda
//! to the letter, Stripe's payloads by their shape, because ids and times differ from run to run.

mod inputs;
mod payloads;
mod stable;

use std::path::{Path, PathBuf};

/// The moment at which the files begin, in seconds.
const START: i64 = 1_790_000_000;

/// What signs the webhooks among the files; no endpoint has it.
const SIGNING_SECRET: &str = "whsec_of_the_example_files";

fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../events")
        .join(file)
}

fn read(file: &str) -> String {
    let path = path(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Writes the file when that is asked for; otherwise the caller compares.
fn write_if_asked(file: &str, contents: &str) -> bool {
    if std::env::var_os("TOLLGATE_WRITE_EVENTS").is_none() {
        return false;
    }
    let path = path(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, contents).unwrap();
    true
}

#[tokio::test]
async fn files_are_what_their_senders_make() {
    payloads::write_or_compare().await;
    // They carry one of the payloads.
    inputs::write_or_compare();
}
