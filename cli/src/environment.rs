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
    Ok(merge(process, of_file(env_file)?))
}

/// The same for a command that works with Stripe and uses no table: what the file says of AWS is left out, so that
/// a secret of an account is never looked for with the file's dummies.
///
/// # Errors
/// When a file that was named is not there, or a file cannot be read.
pub fn merged_without_table(
    process: Vec<(String, String)>,
    env_file: Option<&Path>,
) -> Result<Environment, env_file::Error> {
    Ok(merge_without_table(process, of_file(env_file)?))
}

/// Which Stripe a command works with, as a person reads it.
pub fn stripe_of(environment: &Environment) -> String {
    if let Some(base) = environment.get("STRIPE_API_BASE") {
        return base.to_owned();
    }
    let key = environment.get("STRIPE_SECRET_KEY").unwrap_or_default();
    let mode = if key.contains("_live_") {
        ", live mode"
    } else if key.contains("_test_") {
        ", test mode"
    } else {
        ""
    };
    format!("itself{mode}")
}

fn of_file(env_file: Option<&Path>) -> Result<Vec<(String, String)>, env_file::Error> {
    let default = crate::dev::default_env_file();
    match (env_file::read_all(env_file.unwrap_or(&default)), env_file) {
        (Err(env_file::Error::Missing(_)), None) => Ok(Vec::new()),
        (read, _) => read,
    }
}

fn merge_without_table(
    process: Vec<(String, String)>,
    mut file: Vec<(String, String)>,
) -> Environment {
    file.retain(|(name, _)| name != "TABLE_NAME" && !name.starts_with("AWS_"));
    merge(process, file)
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
    fn without_a_table_the_file_says_nothing_of_aws() {
        let merged = merge_without_table(pairs(&[("AWS_REGION", "eu-west-1")]), file());
        assert_eq!(merged.get("AWS_REGION"), Some("eu-west-1"));
        assert_eq!(merged.get("AWS_ENDPOINT_URL_DYNAMODB"), None);
        assert_eq!(merged.get("TABLE_NAME"), None);
        assert_eq!(merged.get("STRIPE_SECRET_KEY"), Some("sk_test_file"));
    }

    #[test]
    fn it_says_which_stripe() {
        let live = [("STRIPE_SECRET_KEY".to_owned(), "sk_live_1".to_owned())];
        assert_eq!(stripe_of(&live.into_iter().collect()), "itself, live mode");
    }

    #[test]
    fn only_a_file_that_was_named_must_be_there() {
        let nowhere = Path::new("/nonexistent/dev.env");
        let error = merged(Vec::new(), Some(nowhere)).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/dev.env"), "{error}");
    }
}
