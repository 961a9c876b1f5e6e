//! `tollgate catalog sync` and `tollgate catalog check` as they are typed: the file, the difference, then the
//! deed.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use shared::catalog::{Definition, InvalidDefinition};
use shared::config::Environment;
use shared::http::HttpClient;

use super::{Sync, products};
use crate::environment::stripe_of;

/// What keeps the command from its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not a valid catalogue.
    #[error("{path}: {source}", path = path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidDefinition,
    },
    /// Stripe or the table does not take it.
    #[error(transparent)]
    Sync(#[from] super::Error),
    /// Nothing can be printed.
    #[error("cannot print: {0}")]
    Print(#[from] io::Error),
}

/// Whether the difference is also made.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Shown only.
    DryRun,
    /// Shown, then made.
    Apply,
}

/// Shows what differs between the file and Stripe, then makes Stripe as the file says and writes the
/// `CATALOG` item.
///
/// # Errors
/// When the file is not a catalogue, a variable is missing, or Stripe or the table does not take it.
pub async fn sync(
    file: &Path,
    environment: &Environment,
    mode: Mode,
    now: Timestamp,
    out: &mut (dyn Write + Send),
) -> Result<(), Error> {
    let definition = read(file)?;
    let sync = Sync::new(environment, &HttpClient::new())?;
    writeln!(out, "Stripe  {}", stripe_of(environment))?;
    writeln!(out, "table   {}\n", table_of(environment))?;
    let plan = sync.plan(&definition, now).await?;
    for action in plan.actions() {
        writeln!(out, "{action}")?;
    }
    if plan.actions().is_empty() {
        writeln!(out, "Stripe is as {} says", file.display())?;
    }
    if mode == Mode::DryRun {
        writeln!(out, "\nnothing was changed (--dry-run)")?;
        return Ok(());
    }
    let made = plan.actions().len();
    let catalog = sync.apply(&definition, plan, now).await?;
    let known = catalog.prices.len();
    writeln!(
        out,
        "\nchanges at Stripe: {made}; the catalogue with {known} prices is written"
    )?;
    Ok(())
}

/// Reads the file and says what it sells, without asking anybody.
///
/// # Errors
/// When the file is not a catalogue.
pub fn check(file: &Path, out: &mut dyn Write) -> Result<(), Error> {
    let definition = read(file)?;
    for offer in definition.offers() {
        let amounts = offer.amounts.iter();
        let amounts: Vec<String> = amounts
            .map(|(currency, amount)| format!("{amount} {currency}"))
            .collect();
        writeln!(
            out,
            "{:<28} {:<24} {}",
            offer.lookup_key,
            offer.item.name(),
            amounts.join(", ")
        )?;
    }
    writeln!(
        out,
        "\n{} is valid: {} products, {} prices, amounts in the smallest unit",
        file.display(),
        products(&definition).len(),
        definition.offers().count()
    )?;
    Ok(())
}

fn read(file: &Path) -> Result<Definition, Error> {
    let text = std::fs::read_to_string(file).map_err(|source| Error::Unreadable {
        path: file.to_owned(),
        source,
    })?;
    Definition::parse(&text).map_err(|source| Error::Invalid {
        path: file.to_owned(),
        source,
    })
}

fn table_of(environment: &Environment) -> String {
    let name = environment.get("TABLE_NAME").unwrap_or_default();
    match environment.get("AWS_ENDPOINT_URL_DYNAMODB") {
        Some(endpoint) => format!("{name} at {endpoint}"),
        None => {
            let region = environment.get("AWS_REGION").unwrap_or_default();
            format!("{name} in {region}")
        }
    }
}

#[cfg(test)]
mod tests {
    use local::stack::{Options, Stack};

    use super::*;

    fn shipped() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../catalog.toml")
    }

    async fn synced(environment: &Environment, file: &Path, mode: Mode) -> String {
        let mut out = Vec::new();
        sync(file, environment, mode, Timestamp::UNIX_EPOCH, &mut out)
            .await
            .unwrap();
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn the_difference_is_shown_then_made_and_made_once() {
        let stack = Stack::start(Options::ephemeral()).await.unwrap();
        let environment: Environment = stack.environment().iter().cloned().collect();
        let file = shipped();
        for mode in [Mode::DryRun, Mode::DryRun, Mode::Apply] {
            let shown = synced(&environment, &file, mode).await;
            assert!(shown.contains("+ product tollgate_pro (Pro)"), "{shown}");
            assert!(shown.contains("+ price tollgate_pro_month\n"), "{shown}");
        }
        let again = synced(&environment, &file, Mode::Apply).await;
        assert!(again.contains("Stripe is as"), "{again}");

        let dearer = std::fs::read_to_string(&file)
            .unwrap()
            .replace("usd = 2_900", "usd = 3_100");
        let changed = std::env::temp_dir().join(format!("catalog-{}.toml", std::process::id()));
        std::fs::write(&changed, dearer).unwrap();
        let shown = synced(&environment, &changed, Mode::Apply).await;
        assert!(
            shown.contains("+ price tollgate_pro_month (its amounts changed; price_"),
            "{shown}"
        );
        assert!(shown.contains("\nchanges at Stripe: 1;"), "{shown}");
        std::fs::remove_file(changed).unwrap();
        stack.stop().await;
    }

    #[test]
    fn check_says_what_is_sold() {
        let mut out = Vec::new();
        check(&shipped(), &mut out).unwrap();
        let shown = String::from_utf8(out).unwrap();
        assert!(shown.contains("tollgate_starter_month"), "{shown}");
        assert!(shown.contains("4 products, 6 prices"), "{shown}");
    }

    #[tokio::test]
    async fn what_is_wrong_is_named() {
        let mut out = Vec::new();
        let missing = check(Path::new("no.toml"), &mut out).unwrap_err();
        assert!(missing.to_string().starts_with("no.toml cannot be read"));
        let mode = [("LIVEMODE".to_owned(), "false".to_owned())];
        let (file, nothing): (_, Environment) = (shipped(), mode.into_iter().collect());
        let error = sync(
            &file,
            &nothing,
            Mode::Apply,
            Timestamp::UNIX_EPOCH,
            &mut out,
        );
        let error = error.await.unwrap_err().to_string();
        assert!(error.contains("STRIPE_SECRET_KEY is not set"), "{error}");
    }

    #[test]
    fn it_says_where_it_goes() {
        let table = [("TABLE_NAME", "tollgate"), ("AWS_REGION", "eu-west-1")];
        let table = table.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(
            table_of(&table.into_iter().collect()),
            "tollgate in eu-west-1"
        );
    }
}
