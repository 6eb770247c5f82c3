//! Where an image comes from, as a label of a metric: a name from the server's own table, never what a header says.

use std::collections::BTreeMap;

use serde::Deserialize;

/// More would be too many series for a metric that also has a model and a finding.
const MOST: usize = 64;
/// Every institution that is not in the table, and every image without one.
const OTHER: &str = "other";

/// The table from Institution Name (0008,0080) to a short name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "BTreeMap<String, String>")]
pub struct Sites {
    /// By the institution's name in lower case.
    names: BTreeMap<String, String>,
}

/// A site from the table, or `other`: only [`Sites`] makes one, so what it holds is one of a bounded set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site(String);

impl Site {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Default for Site {
    fn default() -> Self {
        Self(OTHER.to_owned())
    }
}

impl Sites {
    /// The site of an image whose header names this institution. Case and the spaces around it do not count.
    #[must_use]
    pub fn of(&self, institution: Option<&str>) -> Site {
        institution
            .and_then(|institution| self.names.get(&key(institution)))
            .map_or_else(Site::default, |name| Site(name.clone()))
    }
}

impl TryFrom<BTreeMap<String, String>> for Sites {
    type Error = String;

    fn try_from(table: BTreeMap<String, String>) -> Result<Self, String> {
        if table.len() > MOST {
            return Err(format!(
                "sites may name {MOST} institutions, not {}: give the rest no entry, they count as {OTHER}",
                table.len()
            ));
        }
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let odd = |name: &str| name.is_empty() || name.len() > 32 || !name.bytes().all(plain);
        if table.values().any(|name| odd(name)) {
            return Err(
                "the name of a site must be 1 to 32 lower-case letters, digits and `-`, as in \"General Hospital\" = \"general\""
                    .to_owned(),
            );
        }
        let names = table
            .into_iter()
            .map(|(institution, name)| (key(&institution), name))
            .collect();
        Ok(Self { names })
    }
}

fn key(institution: &str) -> String {
    institution.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sites(table: &[(&str, &str)]) -> Result<Sites, String> {
        let table: BTreeMap<_, _> = table
            .iter()
            .map(|(institution, name)| ((*institution).to_owned(), (*name).to_owned()))
            .collect();
        Sites::try_from(table)
    }

    #[test]
    fn what_is_not_in_the_table_is_other() {
        let sites = sites(&[("General Hospital", "general"), ("St. Ann", "ann")]).unwrap();
        assert_eq!(sites.of(Some(" GENERAL hospital ")).name(), "general");
        for unknown in [None, Some(""), Some("General"), Some("Canary^Patient")] {
            assert_eq!(sites.of(unknown).name(), "other");
        }
    }

    #[test]
    fn a_table_that_is_too_long_or_has_odd_names_is_refused() {
        for odd in ["", "General", "a b", "größe", &"x".repeat(33)] {
            assert!(sites(&[("A", odd)]).unwrap_err().contains("lower-case"), "{odd}");
        }
        let names: Vec<String> = (0..65).map(|index| format!("hospital {index}")).collect();
        let table: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "a")).collect();
        assert!(sites(&table[..64]).is_ok());
        assert!(sites(&table).unwrap_err().contains("64"));
    }
}
