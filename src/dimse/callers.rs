//! Who may call: application entities of the configuration, each from where it says.

use std::net::IpAddr;

use serde::Deserialize;

use crate::dicom::AeTitle;
use crate::subnet::Subnet;

/// The application entities that may open an association.
///
/// Where none is named, those of this machine may, under any title: a title is no secret, and whoever can reach the port could make
/// one up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Callers(Vec<Caller>);

/// One of them: a `[[dicom-callers]]` table of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Caller {
    /// What it calls itself.
    ae_title: AeTitle,
    /// Where it calls from; from anywhere, without it.
    #[serde(default)]
    hosts: Vec<Subnet>,
}

impl Callers {
    /// Whether an application entity of this title may call from `address`.
    #[must_use]
    pub fn admit(&self, title: &AeTitle, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.0.is_empty() {
            return address.is_loopback();
        }
        self.0
            .iter()
            .any(|caller| caller.ae_title == *title && caller.may_be_at(address))
    }

    /// Whose share of room and places an admitted caller takes. Where callers are named, a title is one of theirs; where not, it may be anything,
    /// and its address counts as it does over HTTP.
    #[must_use]
    pub(super) fn client(&self, title: &AeTitle, address: IpAddr) -> String {
        if self.0.is_empty() {
            return address.to_canonical().to_string();
        }
        format!("AE {}", title.as_str())
    }

    /// Whether anybody may call from `address`.
    #[must_use]
    pub fn know(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.0.is_empty() {
            return address.is_loopback();
        }
        self.0.iter().any(|caller| caller.may_be_at(address))
    }

    /// Whether nobody is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Caller {
    fn may_be_at(&self, address: IpAddr) -> bool {
        self.hosts.is_empty() || self.hosts.iter().any(|subnet| subnet.holds(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "kebab-case")]
    struct File {
        dicom_callers: Callers,
    }

    fn callers(toml: &str) -> Result<Callers, String> {
        toml::from_str::<File>(toml)
            .map(|file| file.dicom_callers)
            .map_err(|error| error.message().to_owned())
    }

    fn admits(callers: &Callers, title: &str, address: &str) -> bool {
        callers.admit(&title.parse().unwrap(), address.parse().unwrap())
    }

    #[test]
    fn without_a_list_only_this_machine_may_call() {
        let nobody = Callers::default();
        for (address, may) in [
            ("127.0.0.1", true),
            ("127.9.9.9", true),
            ("::1", true),
            ("::ffff:127.0.0.1", true),
            ("10.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("fe80::1", false),
        ] {
            assert_eq!(admits(&nobody, "ANY", address), may, "{address}");
            assert_eq!(nobody.know(address.parse().unwrap()), may, "{address}");
        }
    }

    #[test]
    fn a_caller_is_known_by_its_title_and_its_host() {
        let callers = callers(
            r#"
            [[dicom-callers]]
            ae-title = "ARCHIVE"
            hosts = ["10.0.5.20", "10.0.6.0/23", "fd00::/8"]
            [[dicom-callers]]
            ae-title = "ANYWHERE"
            "#,
        )
        .unwrap();
        for (title, address, may) in [
            ("ARCHIVE", "10.0.5.20", true),
            ("ARCHIVE", "::ffff:10.0.5.20", true),
            ("ARCHIVE", "10.0.5.21", false),
            ("ARCHIVE", "10.0.7.255", true),
            ("ARCHIVE", "10.0.8.0", false),
            ("ARCHIVE", "fd12::1", true),
            ("ARCHIVE", "fe00::1", false),
            ("archive", "10.0.5.20", false),
            ("ANYWHERE", "192.0.2.1", true),
            ("OTHER", "127.0.0.1", false),
        ] {
            assert_eq!(admits(&callers, title, address), may, "{title} from {address}");
        }
        assert!(!callers.is_empty());
    }

    #[test]
    fn an_address_is_known_where_anybody_may_call_from_it() {
        let archive = callers("[[dicom-callers]]\nae-title = \"A\"\nhosts = [\"10.0.6.0/23\"]\n").unwrap();
        assert!(archive.know("10.0.7.1".parse().unwrap()));
        assert!(!archive.know("127.0.0.1".parse().unwrap()));
        let anywhere = callers("[[dicom-callers]]\nae-title = \"A\"\n").unwrap();
        assert!(anywhere.know("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn says_what_is_wrong() {
        for (lines, says) in [
            ("ae-title = \"MUCH TOO LONG A TITLE\"", "1 to 16 characters"),
            ("ae-title = \"A\"\nhosts = [\"pacs.example\"]", "write 10.0.5.20"),
            ("ae-title = \"A\"\nhost = \"10.0.0.1\"", "unknown field"),
            ("hosts = []", "ae-title"),
        ] {
            let error = callers(&format!("[[dicom-callers]]\n{lines}")).unwrap_err();
            assert!(error.contains(says), "{lines}: {error}");
        }
    }
}
