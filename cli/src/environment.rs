//! What a command works with: the process's environment, and what the running `dev` has left in its file.
//!
//! Variables that mean something only together come from one place together: a key of Stripe's never goes to
//! the address that the file names, nor an account's table to the local DynamoDB.

use std::path::Path;

use local::env_file;
use shared::config::Environment;

/// Which Stripe. `STRIPE_SECRET_KEY` or `SECRETS_ARN` in the process's environment decides for all.
const STRIPE: [&str; 3] = ["STRIPE_SECRET_KEY", "SECRETS_ARN", "STRIPE_API_BASE"];

/// Which table. `TABLE_NAME` or `SECRETS_ARN` in the process's environment decides for all.
const TABLE_DECIDED_BY: [&str; 2] = ["TABLE_NAME", "SECRETS_ARN"];

/// The process's environment, and for what it does not decide, the file's values. A file that nobody named
/// need not be there.
///
/// # Errors
/// When a file that was named is not there, or a file cannot be read.
pub fn merged(
    process: Vec<(String, String)>,
    env_file: Option<&Path>,
) -> Result<Environment, env_file::Error> {
    let default = crate::dev::default_env_file();
    let read = env_file::read_all(env_file.unwrap_or(&default));
    let file = match (read, env_file) {
        (Err(env_file::Error::Missing(_)), None) => Vec::new(),
        (read, _) => read?,
    };
    Ok(merge(process, file))
}

fn merge(process: Vec<(String, String)>, file: Vec<(String, String)>) -> Environment {
    let set: Environment = process.iter().cloned().collect();
    let is_set = |names: &[&str]| names.iter().any(|name| set.get(name).is_some());
    let (stripe_is_set, table_is_set) = (is_set(&STRIPE), is_set(&TABLE_DECIDED_BY));
    let is_of_file = |name: &str| {
        if STRIPE.contains(&name) {
            !stripe_is_set
        } else if name == "TABLE_NAME" || name.starts_with("AWS_") {
            !table_is_set
        } else {
            set.get(name).is_none()
        }
    };
    let of_file: Vec<_> = file
        .into_iter()
        .filter(|(name, _)| is_of_file(name))
        .collect();
    process.into_iter().chain(of_file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    fn file() -> Vec<(String, String)> {
        pairs(&[
            ("STRIPE_SECRET_KEY", "sk_test_file"),
            ("STRIPE_API_BASE", "http://localhost:12111"),
            ("TABLE_NAME", "local"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT_URL_DYNAMODB", "http://localhost:8000"),
            ("LIVEMODE", "false"),
        ])
    }

    #[test]
    fn what_is_missing_comes_from_the_file() {
        let merged = merge(
            pairs(&[("AWS_REGION", "eu-west-1"), ("PATH", "/bin")]),
            file(),
        );
        assert_eq!(merged.get("STRIPE_SECRET_KEY"), Some("sk_test_file"));
        assert_eq!(merged.get("AWS_REGION"), Some("us-east-1"), "the table's");
        assert_eq!(merged.get("PATH"), Some("/bin"));
    }

    #[test]
    fn a_key_of_the_process_does_not_go_to_the_address_of_the_file() {
        let merged = merge(pairs(&[("STRIPE_SECRET_KEY", "sk_test_mine")]), file());
        assert_eq!(merged.get("STRIPE_SECRET_KEY"), Some("sk_test_mine"));
        assert_eq!(merged.get("STRIPE_API_BASE"), None);
        assert_eq!(merged.get("TABLE_NAME"), Some("local"));
    }

    #[test]
    fn a_table_of_the_process_is_not_looked_for_at_the_address_of_the_file() {
        let merged = merge(
            pairs(&[("TABLE_NAME", "prod"), ("LIVEMODE", "true")]),
            file(),
        );
        assert_eq!(merged.get("AWS_ENDPOINT_URL_DYNAMODB"), None);
        assert_eq!(merged.get("AWS_REGION"), None);
        assert_eq!(merged.get("LIVEMODE"), Some("true"));
    }

    #[test]
    fn only_a_file_that_was_named_must_be_there() {
        let nowhere = Path::new("/nonexistent/dev.env");
        let error = merged(Vec::new(), Some(nowhere)).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/dev.env"), "{error}");
    }
}
