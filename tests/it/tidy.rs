//! The shape of the code: who may name whom, who may read clock and environment, and how files look.
//!
//! It reads the sources as text. What it finds wrong it lists with file and line.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// `shared`'s modules that decide and parse: they never name one that does I/O.
const PURE: &[&str] = &[
    "access",
    "account",
    "catalog",
    "config",
    "decide",
    "event",
    "ids",
    "request",
    "sale",
    "signature",
    "subscription",
    "token",
];

/// `shared`'s modules that do I/O.
const IO: [&str; 6] = ["aws", "http", "oidc", "secrets", "store", "stripe"];

/// `shared`'s modules where the two meet: the way of one event, what a caller sees of an error, and logs.
const MEETING: [&str; 3] = ["problem", "process", "telemetry"];

const LINES_MAX: usize = 400;

/// Files that are longer and still to be divided.
const LONGER: &[&str] = &["local/sandbox/src/resources/tests.rs"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let listed = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut entries: Vec<PathBuf> = listed.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// All Rust files below the folders, by their path in the repository.
pub fn sources(folders: &[&str]) -> Vec<(String, String)> {
    fn visit(folder: &Path, name: &str, found: &mut Vec<(String, String)>) {
        for path in entries(folder) {
            let name = format!("{name}/{}", path.file_name().unwrap().to_str().unwrap());
            if path.is_dir() {
                visit(&path, &name, found);
            } else if name.ends_with(".rs") {
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    for folder in folders {
        visit(&root().join(folder), folder, &mut found);
    }
    assert!(!found.is_empty());
    found
}

fn functions() -> Vec<String> {
    let folders = entries(&root().join("functions"));
    let names = folders
        .iter()
        .map(|folder| folder.file_name().unwrap().to_str().unwrap().to_owned());
    names.collect()
}

fn manifest(package: &str) -> String {
    fs::read_to_string(root().join(package).join("Cargo.toml")).unwrap()
}

/// What a package depends on, as its manifest names it.
fn dependencies(package: &str) -> BTreeSet<String> {
    let manifest = manifest(package);
    let lines = manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]");
    lines
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| Some(line.split(['.', ' ', '=']).next()?.to_owned()))
        .collect()
}

/// Lines that hold one of `words`, as `file:line: text`. Comments may say anything.
fn lines_with(sources: &[(String, String)], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in sources {
        for (number, line) in (1..).zip(text.lines()) {
            let code = line.trim_start();
            if !code.starts_with("//") && words.iter().any(|word| code.contains(word)) {
                found.push(format!("{file}:{number}: {code}"));
            }
        }
    }
    found
}

#[test]
fn functions_and_shared_depend_on_what_is_below_them() {
    let functions: BTreeSet<String> = functions().into_iter().collect();
    let above = ["local", "sandbox", "tests", "tollgate"].map(str::to_owned);
    let not_for_functions: BTreeSet<String> = functions.iter().chain(&above).cloned().collect();
    for function in &functions {
        let dependencies = dependencies(&format!("functions/{function}"));
        let wrong: Vec<_> = dependencies.intersection(&not_for_functions).collect();
        assert!(
            wrong.is_empty(),
            "functions/{function} depends on {wrong:?}"
        );
    }
    for package in ["shared", "local/sandbox"] {
        let dependencies = dependencies(package);
        let wrong: Vec<_> = dependencies.intersection(&not_for_functions).collect();
        assert!(wrong.is_empty(), "{package} depends on {wrong:?}");
    }
    assert!(
        !dependencies("local/sandbox").contains("shared"),
        "the sandbox judges shared, so it shares no code with it"
    );
    assert!(!dependencies("local").contains("tollgate"));
}

#[test]
fn every_module_of_shared_is_pure_or_does_io_and_the_pure_name_no_other() {
    let all = sources(&["shared/src"]);
    let module = |file: &str| {
        let name = file.trim_start_matches("shared/src/");
        name.split(['/', '.']).next().unwrap().to_owned()
    };
    let known: BTreeSet<&str> = PURE.iter().copied().chain(IO).chain(MEETING).collect();
    let modules: BTreeSet<String> = all
        .iter()
        .map(|(file, _)| module(file))
        .filter(|module| module != "lib")
        .collect();
    let unlisted: Vec<_> = modules
        .iter()
        .filter(|module| !known.contains(module.as_str()))
        .collect();
    assert!(
        unlisted.is_empty(),
        "say in tidy.rs what these are: {unlisted:?}"
    );

    let mut pure = all;
    pure.retain(|(file, _)| PURE.contains(&module(file).as_str()));
    let not_for_pure: Vec<String> = IO
        .iter()
        .chain(&["process", "telemetry"])
        .map(|module| format!("crate::{module}"))
        .collect();
    let mut words: Vec<&str> = not_for_pure.iter().map(String::as_str).collect();
    // A module hidden in a list would not be seen.
    words.push("crate::{");
    let wrong = lines_with(&pure, &words);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_main_reads_environment_and_clock() {
    // Tokio's instants only measure waits, and a test can stand them still.
    let mut sources = sources(&["shared/src", "functions"]);
    sources.retain(|(file, _)| !file.ends_with("/main.rs"));
    let words = [
        "std::env",
        "env::var",
        "SystemTime::now",
        "Timestamp::now",
        "std::time::Instant",
        "Zoned::now",
    ];
    let wrong = lines_with(&sources, &words);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_module_says_what_it_is_for() {
    let sources = sources(&["cli", "functions", "local", "shared", "tests"]);
    let silent: Vec<&String> = sources
        .iter()
        .filter(|(_, text)| !text.starts_with("//! "))
        .map(|(file, _)| file)
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn files_are_short() {
    let sources = sources(&["cli", "functions", "local", "shared"]);
    let longer: Vec<&str> = sources
        .iter()
        .filter(|(_, text)| text.lines().count() > LINES_MAX)
        .map(|(file, _)| file.as_str())
        .collect();
    let new: Vec<&&str> = longer
        .iter()
        .filter(|file| !LONGER.contains(file))
        .collect();
    assert!(new.is_empty(), "over {LINES_MAX} lines: {new:#?}");
}

#[test]
fn tests_neither_sleep_nor_are_skipped() {
    let mut tests = sources(&["cli", "functions", "local", "shared", "tests"]);
    for (file, text) in &mut tests {
        let is_test =
            file.starts_with("tests/") || file.ends_with("/tests.rs") || file.contains("/tests/");
        if !is_test {
            // Everything above the unit tests gives way to empty lines, so that numbers stay.
            let at = text.find("#[cfg(test)]").unwrap_or(text.len());
            let above = "\n".repeat(text[..at].matches('\n').count());
            text.replace_range(..at, &above);
        }
    }
    let words = [
        concat!("#[", "ignore"),
        concat!("thread", "::sleep"),
        concat!("time", "::sleep"),
    ];
    let wrong = lines_with(&tests, &words);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_function_has_one_name_everywhere() {
    let events = entries(&root().join("events"));
    let events: Vec<&str> = events
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    for function in functions() {
        let manifest = manifest(&format!("functions/{function}"));
        let name = format!("\nname = \"{function}\"\n");
        assert!(manifest.contains(&name), "package {function}");
        assert_eq!(
            manifest.matches("\nname = ").count(),
            1,
            "binary {function}"
        );
        let source = root().join("functions").join(&function).join("src");
        assert!(source.join("main.rs").exists(), "{function} has a binary");
        let lib = fs::read_to_string(source.join("lib.rs")).unwrap();
        assert!(
            lib.contains("pub async fn handle("),
            "{function} has handle"
        );
        let has_input = events.iter().any(|file| {
            file.strip_prefix(function.as_str())
                .is_some_and(|rest| rest.starts_with(['.', '_']) && rest.ends_with(".json"))
        });
        assert!(has_input, "{function} has an input in events/");
    }
}
