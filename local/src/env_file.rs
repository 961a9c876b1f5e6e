//! `dev.env`: what the running local stack is reached by, for scripts and other terminals; and `sam.json`,
//! the functions' environment beside it, for `sam local --env-vars`.
//!
//! `dev.env` is `NAME=value` lines without quotes, so that a shell can source it and other tools can read it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::data;

/// What keeps the file from being read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("there is no {path}: start `cargo run -- dev` first, or name its file by --env-file", path = .0.display())]
    Missing(PathBuf),
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file lacks a variable.
    #[error("{path} has no {name}: start `cargo run -- dev` again", path = path.display())]
    NoVariable {
        /// The file.
        path: PathBuf,
        /// Name of the variable.
        name: &'static str,
    },
}

/// The files of a running stack; dropped, they are removed.
#[derive(Debug)]
pub struct Written(Vec<(PathBuf, String)>);

/// Writes both files, each all of it or nothing.
///
/// # Errors
/// When one cannot be written.
pub fn write(
    path: &Path,
    variables: &[(String, String)],
    environment: &[(String, String)],
) -> Result<Written, data::Error> {
    let mut written = Written(Vec::new());
    for (path, contents) in [
        (sam_file(path), render_for_sam(environment)),
        // The last, because who waits for it starts then.
        (path.to_owned(), render(variables)),
    ] {
        data::write_private(&path, contents.as_bytes())?;
        written.0.push((path, contents));
    }
    Ok(written)
}

/// Where the file for `sam local` is, given `dev.env`.
pub fn sam_file(path: &Path) -> PathBuf {
    path.with_file_name("sam.json")
}

/// <https://docs.aws.amazon.com/serverless-application-model/latest/developerguide/serverless-sam-cli-using-invoke.html>
fn render_for_sam(environment: &[(String, String)]) -> String {
    let variables = environment
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    // The secrets are plain variables here.
    let variables = variables.chain([("SECRETS_ARN", "")]);
    let variables: BTreeMap<&str, &str> = variables.collect();
    serde_json::json!({"Parameters": variables}).to_string()
}

impl Drop for Written {
    fn drop(&mut self) {
        for (path, contents) in &self.0 {
            remove(path, contents);
        }
    }
}

/// Removes a file when what it names has stopped, unless another stack has written it since.
fn remove(path: &Path, written: &str) {
    let is_ours = fs::read_to_string(path).is_ok_and(|contents| contents == written);
    if is_ours && let Err(error) = fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "the file of a stopped stack could not be removed");
    }
}

/// Reads one variable.
///
/// # Errors
/// When the file or the variable is missing.
pub fn read(path: &Path, name: &'static str) -> Result<String, Error> {
    find(&contents(path)?, name).ok_or_else(|| Error::NoVariable {
        path: path.to_owned(),
        name,
    })
}

/// Reads all variables.
///
/// # Errors
/// When the file is missing.
pub fn read_all(path: &Path) -> Result<Vec<(String, String)>, Error> {
    let contents = contents(path)?;
    let assignments = assignments(&contents);
    Ok(assignments
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect())
}

fn contents(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| {
        let path = path.to_owned();
        if source.kind() == io::ErrorKind::NotFound {
            Error::Missing(path)
        } else {
            Error::Read { path, source }
        }
    })
}

fn render(variables: &[(String, String)]) -> String {
    variables
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect()
}

fn assignments(contents: &str) -> impl Iterator<Item = (&str, &str)> {
    contents.lines().filter_map(|line| line.split_once('='))
}

fn find(contents: &str, name: &str) -> Option<String> {
    assignments(contents)
        .find(|(found, _)| *found == name)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let variables = [
            ("A".to_owned(), "http://localhost:1".to_owned()),
            ("B".to_owned(), "x=y".to_owned()),
        ];
        let contents = render(&variables);
        assert_eq!(contents, "A=http://localhost:1\nB=x=y\n");
        assert_eq!(find(&contents, "B").as_deref(), Some("x=y"));
        assert_eq!(find(&contents, "C"), None);
        let all: Vec<_> = assignments(&contents).collect();
        assert_eq!(all, [("A", "http://localhost:1"), ("B", "x=y")]);
        let for_sam: serde_json::Value = serde_json::from_str(&render_for_sam(&variables)).unwrap();
        let expected =
            serde_json::json!({"A": "http://localhost:1", "B": "x=y", "SECRETS_ARN": ""});
        assert_eq!(for_sam["Parameters"], expected);
    }

    #[test]
    fn a_missing_file_says_how_to_get_it() {
        let error = read(Path::new("/nonexistent/dev.env"), "A").unwrap_err();
        assert!(error.to_string().contains("cargo run -- dev"));
    }
}
