//! Where the rows are kept: a URL becomes a [`DatabasePlace`].

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A SQLite file, or a database of a PostgreSQL server.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabasePlace {
    /// A file on a disk of this machine; one server, and command-line tools beside it.
    Sqlite(PathBuf),
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=...`; any number of servers.
    Postgres(String),
}

impl DatabasePlace {
    /// The URL by which the driver opens it.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Sqlite(path) => {
                let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                let path = absolute.to_string_lossy();
                let path = path.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
                format!("sqlite:{path}?mode=rwc")
            }
            Self::Postgres(url) => url.clone(),
        }
    }

    /// The file, of SQLite.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

impl FromStr for DatabasePlace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = "it must be sqlite:PATH, such as sqlite:/var/lib/osteon/osteon.sqlite, or \
                     postgres://USER:PASSWORD@HOST:PORT/DATABASE";
        match text.split_once(':') {
            Some(("sqlite", path)) => {
                let path = path.strip_prefix("//").unwrap_or(path);
                if path.is_empty() || path.contains(":memory:") {
                    return Err(right.to_owned());
                }
                Ok(Self::Sqlite(path.into()))
            }
            Some(("postgres" | "postgresql", rest)) if rest.len() > 2 && rest.starts_with("//") => {
                Ok(Self::Postgres(text.to_owned()))
            }
            _ => Err(right.to_owned()),
        }
    }
}

/// Without the password, for messages.
impl fmt::Display for DatabasePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(url) => {
                let rest = url.split_once("//").map_or("", |(_, rest)| rest);
                let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
                let place = place.split('?').next().unwrap_or_default();
                write!(f, "postgres://{place}")
            }
        }
    }
}

impl fmt::Debug for DatabasePlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_and_shown_without_its_password() {
        let file: DatabasePlace = "sqlite:data/osteon.sqlite".parse().unwrap();
        assert_eq!(file.file(), Some(Path::new("data/osteon.sqlite")));
        assert!(
            file.url().ends_with("/data/osteon.sqlite?mode=rwc"),
            "{}",
            file.url()
        );
        let odd: DatabasePlace = "sqlite:/a?b#c%d".parse().unwrap();
        assert_eq!(odd.url(), "sqlite:/a%3Fb%23c%25d?mode=rwc");
        let server: DatabasePlace = "postgres://osteon:s3cr3t@db:5432/osteon?sslmode=require"
            .parse()
            .unwrap();
        assert_eq!(
            format!("{server} {server:?}"),
            "postgres://db:5432/osteon postgres://db:5432/osteon"
        );
        for wrong in [
            "",
            "osteon.sqlite",
            "sqlite:",
            "sqlite::memory:",
            "mysql://x/y",
            "postgres:x",
        ] {
            assert!(
                wrong
                    .parse::<DatabasePlace>()
                    .unwrap_err()
                    .contains("sqlite:PATH"),
                "{wrong}"
            );
        }
    }
}
