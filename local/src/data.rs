//! The directory in which the local stack keeps its data, and the secrets it makes for itself.
//!
//! Files are private to the user and written atomically. One process at a time uses a directory.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What keeps a data directory from being used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Another process runs on the same data.
    #[error("{path} is in use: stop the other `dev`, or add --ephemeral to run beside it", path = .0.display())]
    InUse(PathBuf),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

/// Where the local stack keeps its data.
#[derive(Debug)]
pub enum Data {
    /// Nowhere: everything ends with the process.
    Memory,
    /// In a directory.
    Directory(Directory),
}

/// A directory that this process alone uses.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    // Held open for its lock, which the system lets go of when the process ends.
    _lock: File,
}

impl Directory {
    /// Opens the directory at `path`, creating it if needed.
    ///
    /// # Errors
    /// When another process uses it, or it cannot be created.
    pub fn open(path: &Path) -> Result<Self, Error> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(at(path))?;
        let lock_path = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(at(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                _lock: lock,
            }),
            Err(TryLockError::WouldBlock) => Err(Error::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(at(&lock_path)(source)),
        }
    }
}

impl Data {
    /// The path of a file in the directory, if there is one.
    pub fn file(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Memory => None,
            Self::Directory(directory) => Some(directory.path.join(name)),
        }
    }

    /// The contents of the file `name`; made by `make` and kept when there is no such file yet.
    ///
    /// # Errors
    /// When the file cannot be read or written, or `make` fails.
    pub fn once<E: From<Error>>(
        &self,
        name: &str,
        make: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Vec<u8>, E> {
        let Some(path) = self.file(name) else {
            return make();
        };
        match fs::read(&path) {
            Ok(kept) => Ok(kept),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = make()?;
                write_private(&path, &made)?;
                Ok(made)
            }
            Err(source) => Err(at(&path)(source).into()),
        }
    }

    /// A secret of 32 random bytes in hexadecimal behind `prefix`, kept in the file `name`.
    ///
    /// # Errors
    /// As [`Data::once`].
    pub fn secret(&self, name: &str, prefix: &str) -> Result<String, Error> {
        let kept = self.once(name, || {
            random_hex().map(|random| format!("{prefix}{random}").into_bytes())
        })?;
        Ok(String::from_utf8_lossy(&kept).trim().to_owned())
    }
}

/// Writes a file that only the user may read, so that a reader sees the old contents or the new.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, contents: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    let write = || {
        if let Some(directory) = path
            .parent()
            .filter(|directory| !directory.as_os_str().is_empty())
        {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(at(path))
}

fn random_hex() -> Result<String, Error> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_unspecified| Error::Random)?;
    Ok(hex::encode(bytes))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn scratch(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("tollgate-data-{name}-{:x}", fastrand::u64(..)));
        assert!(!path.exists());
        path
    }

    #[test]
    fn a_secret_is_made_once_and_is_private() {
        let path = scratch("secret");
        let data = Data::Directory(Directory::open(&path).unwrap());
        let first = data.secret("webhook_secret", "whsec_").unwrap();
        assert!(first.starts_with("whsec_") && first.len() == 70);
        assert_eq!(data.secret("webhook_secret", "whsec_").unwrap(), first);
        let mode = fs::metadata(path.join("webhook_secret"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_ne!(
            Data::Memory.secret("webhook_secret", "whsec_").unwrap(),
            first
        );
        fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_directory_has_one_user() {
        let path = scratch("lock");
        let first = Directory::open(&path).unwrap();
        assert!(matches!(Directory::open(&path), Err(Error::InUse(_))));
        drop(first);
        assert!(Directory::open(&path).is_ok());
        fs::remove_dir_all(path).unwrap();
    }
}
