//! What the configuration says of a peer.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use dicom_dictionary_std::uids;
use reqwest::Url;
use serde::Deserialize;

use crate::dicom::AeTitle;

/// More than an hour for one request is no time-out.
const LONGEST_TIMEOUT: u64 = 3600;

/// What kind of peer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// An archive: objects are stored with STOW-RS (PS3.18 section 10.5) and looked for afterwards.
    Stow,
    /// An archive without DICOMweb: objects are stored with C-STORE (PS3.4 annex B), and looked for with C-FIND where it offers that.
    Dimse,
    /// The result is posted in JSON.
    Webhook,
}

/// In which form a webhook takes a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// JSON as REST answers it.
    #[default]
    Json,
    /// A Bundle of FHIR R4 in JSON.
    Fhir,
}

impl Format {
    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Fhir => "application/fhir+json",
        }
    }
}

/// What of a result an archive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Object {
    /// The structured report.
    Report,
    /// The heat maps, one for each scored image.
    Heatmap,
}

/// What a peer is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Use {
    /// Every result is sent to it.
    Results,
    /// Studies are fetched from it when they are ordered from there.
    Studies,
}

/// A peer, to which results are delivered or from which studies are fetched: a `[[destinations]]` table of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Destination {
    /// By which it is called: lower case, unique.
    pub name: String,
    /// What kind of peer it is.
    pub kind: Kind,
    /// What it is used for: results, unless it says otherwise.
    #[serde(rename = "use", default = "results")]
    pub uses: Vec<Use>,
    /// Its AE title, by which orders may name it; DIMSE: by which it is called.
    pub ae_title: Option<AeTitle>,
    /// The base URL of the archive's DICOMweb services, or the webhook's own; empty for DIMSE.
    #[serde(default)]
    pub url: String,
    /// DIMSE: the archive's host, as a name or an address.
    pub host: Option<String>,
    /// DIMSE: its port.
    pub port: Option<u16>,
    /// DIMSE: the title by which it is to know this server; `OSTEON`, without it.
    pub calling_ae_title: Option<AeTitle>,
    /// File with a token that is sent with each request (RFC 6750); it is read anew for each delivery.
    pub bearer_token_file: Option<PathBuf>,
    /// User for Basic authentication (RFC 7617), instead of a token.
    pub user: Option<String>,
    /// File with the user's password; it is read anew for each delivery.
    pub password_file: Option<PathBuf>,
    /// Seconds that one request may take, or, with DIMSE, each step of an association.
    #[serde(default = "thirty")]
    pub timeout_seconds: u64,
    /// What an archive takes of a result; all of it, where it is not said.
    pub objects: Option<Vec<Object>>,
    /// In which form a webhook takes a result; JSON, where it is not said.
    pub format: Option<Format>,
}

fn results() -> Vec<Use> {
    vec![Use::Results]
}

fn thirty() -> u64 {
    30
}

/// All of them, checked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<Destination>")]
pub struct Destinations(Vec<Destination>);

impl TryFrom<Vec<Destination>> for Destinations {
    type Error = String;

    /// Checks what the types cannot; the error is a sentence that names the destination.
    fn try_from(destinations: Vec<Destination>) -> Result<Self, String> {
        let mut names = BTreeSet::new();
        for destination in &destinations {
            destination.check()?;
            if !names.insert(destination.name.as_str()) {
                return Err(format!("there are two destinations named {}", destination.name));
            }
        }
        Ok(Self(destinations))
    }
}

impl Destinations {
    /// Each, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.0.iter()
    }

    /// The one with this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Destination> {
        self.iter().find(|destination| destination.name == name)
    }

    /// Those that are used for this.
    pub fn used_for(&self, what: Use) -> impl Iterator<Item = &Destination> {
        self.iter().filter(move |peer| peer.uses.contains(&what))
    }

    /// The one with this name, if studies may be fetched from it.
    #[must_use]
    pub fn source(&self, name: &str) -> Option<&Destination> {
        self.used_for(Use::Studies).find(|peer| peer.name == name)
    }

    /// The one, if any, that studies may be fetched from and that is meant by one of these AE titles or of these URLs. URLs are compared
    /// with what is configured, letter by letter, and used for nothing else.
    #[must_use]
    pub fn source_at(&self, ae_titles: &BTreeSet<String>, urls: &BTreeSet<String>) -> Option<&Destination> {
        self.used_for(Use::Studies).find(|peer| {
            let within = |url: &String| {
                let rest = url.strip_prefix(peer.base());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let title = peer.ae_title.as_ref();
            title.is_some_and(|title| ae_titles.contains(title.as_str())) || urls.iter().any(within)
        })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// An archive's application entity, and who calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) called: AeTitle,
    pub(super) calling: AeTitle,
}

impl Destination {
    fn check(&self) -> Result<(), String> {
        let name = &self.name;
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=64).contains(&name.len()) || !name.chars().all(lower) {
            return Err(
                "the name of a destination is 1 to 64 of a to z, 0 to 9 and -, such as pacs".to_owned(),
            );
        }
        let wrong = |what: &str| Err(format!("destination {name}: {what}"));
        if !(1..=LONGEST_TIMEOUT).contains(&self.timeout_seconds) {
            return wrong("timeout-seconds must be 1 to 3600");
        }
        if self.uses.is_empty() {
            return wrong("use must be \"results\", \"studies\" or both, in a list");
        }
        if self.kind == Kind::Webhook && self.uses.contains(&Use::Studies) {
            return wrong("a webhook has no studies: its use is [\"results\"]");
        }
        if self.kind == Kind::Dimse && self.uses.contains(&Use::Studies) {
            return wrong("studies are fetched by DICOMweb alone: the use of kind dimse is [\"results\"]");
        }
        if self
            .objects
            .as_ref()
            .is_some_and(|objects| objects.is_empty() || self.kind == Kind::Webhook)
        {
            return wrong("objects is for an archive, and names report, heatmap or both");
        }
        if self.format.is_some() && self.kind != Kind::Webhook {
            return wrong("format is for a webhook");
        }
        let place = match self.kind {
            Kind::Dimse => self.check_node(),
            Kind::Stow | Kind::Webhook => self.check_url(),
        };
        place.or_else(wrong)
    }

    /// Where an archive is that is reached by DIMSE.
    fn check_node(&self) -> Result<(), &'static str> {
        if self.node().is_none() {
            return Err("kind dimse needs host, port and ae-title");
        }
        let signed = self.user.is_some() || self.password_file.is_some() || self.bearer_token_file.is_some();
        if !self.url.is_empty() || signed {
            return Err("kind dimse has no url, token, user or password");
        }
        Ok(())
    }

    /// Where every other peer is, and how requests to it are signed. No sentence shows the URL, which may hold what it should not.
    fn check_url(&self) -> Result<(), &'static str> {
        if self.host.is_some() || self.port.is_some() || self.calling_ae_title.is_some() {
            return Err("host, port and calling-ae-title are for kind dimse: the others have a url");
        }
        let Ok(url) = Url::parse(&self.url) else {
            return Err("url must be one, such as https://pacs.example/dicom-web");
        };
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("url must begin with http:// or https:// and name a host");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("url must not hold a user or a password: use user and password-file");
        }
        if url.fragment().is_some() || (self.kind == Kind::Stow && url.query().is_some()) {
            return Err("url must end with its path");
        }
        if self.user.is_some() != self.password_file.is_some() {
            return Err("user and password-file belong together");
        }
        if self.user.is_some() && self.bearer_token_file.is_some() {
            return Err("a destination has a bearer-token-file or a user, not both");
        }
        let odd = |user: &String| user.is_empty() || user.contains(':');
        if self.user.as_ref().is_some_and(odd) {
            return Err("user must not be empty or hold a colon (RFC 7617)");
        }
        Ok(())
    }

    /// The application entity of an archive that is reached by DIMSE.
    pub(super) fn node(&self) -> Option<Node<'_>> {
        Some(Node {
            host: self.host.as_deref().filter(|host| !host.is_empty())?,
            port: self.port.filter(|port| *port > 0)?,
            called: self.ae_title.clone()?,
            calling: self.calling_ae_title.clone().unwrap_or_default(),
        })
    }

    /// Whether it takes objects of this SOP class.
    #[must_use]
    pub fn takes(&self, class: &str) -> bool {
        let object = if class == uids::SECONDARY_CAPTURE_IMAGE_STORAGE {
            Object::Heatmap
        } else {
            Object::Report
        };
        let objects = self.objects.as_deref();
        objects.is_none_or(|objects| objects.contains(&object))
    }

    /// How long one request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// The URL without a slash at its end.
    pub(super) fn base(&self) -> &str {
        self.url.trim_end_matches('/')
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct File {
        destinations: Destinations,
    }

    fn parsed(toml: &str) -> Result<Destinations, String> {
        toml::from_str::<File>(toml)
            .map(|file| file.destinations)
            .map_err(|error| error.message().to_owned())
    }

    fn one(lines: &str) -> Result<Destinations, String> {
        parsed(&format!("[[destinations]]\n{lines}"))
    }

    #[test]
    fn reads_what_the_documentation_shows() {
        let both = parsed(
            r#"
            [[destinations]]
            name = "pacs"
            kind = "stow"
            url = "https://pacs.example/dicom-web"
            bearer-token-file = "/run/secrets/pacs"
            timeout-seconds = 10
            [[destinations]]
            name = "ris"
            kind = "webhook"
            url = "https://ris.example/hooks/osteon?from=osteon"
            user = "osteon"
            password-file = "/run/secrets/ris"
            [[destinations]]
            name = "old-pacs"
            kind = "dimse"
            host = "old-pacs.example"
            port = 104
            ae-title = "PACS"
            "#,
        )
        .unwrap();
        assert!(!both.is_empty() && both.iter().count() == 3);
        let old = both.named("old-pacs").unwrap().node().unwrap();
        assert_eq!((old.host, old.port), ("old-pacs.example", 104));
        assert_eq!((old.called.as_str(), old.calling.as_str()), ("PACS", "OSTEON"));
        assert!(both.named("pacs").unwrap().node().is_none());
        assert_eq!(both.named("pacs").unwrap().timeout(), Duration::from_secs(10));
        let ris = both.named("ris").unwrap();
        assert_eq!((ris.kind, ris.timeout_seconds), (Kind::Webhook, 30));
        assert!(both.named("other").is_none());
        assert!(
            both.source("pacs").is_none(),
            "results only, unless it says otherwise"
        );
        let studies =
            one("name = \"a\"\nkind = \"stow\"\nurl = \"http://h/d\"\nuse = [\"studies\"]").unwrap();
        let at = |url: &str| studies.source_at(&BTreeSet::new(), &BTreeSet::from([url.to_owned()]));
        for url in ["http://h/d", "http://h/d/studies/1.2"] {
            assert!(at(url).is_some(), "{url}");
        }
        for url in [
            "http://h/dd",
            "http://h.evil/d/studies/1.2",
            "https://h/d",
            "/studies/1.2",
            "",
        ] {
            assert!(at(url).is_none(), "{url}");
        }
        assert!(studies.source("a").is_some() && studies.used_for(Use::Results).next().is_none());
    }

    #[test]
    fn says_what_is_wrong_and_never_shows_the_url() {
        let good = "name = \"a\"\nkind = \"stow\"\nurl = \"http://h/d\"\n";
        let dimse = "name = \"a\"\nkind = \"dimse\"\nhost = \"h\"\nport = 104\nae-title = \"P\"\n";
        assert!(one(good).is_ok() && one(dimse).is_ok());
        for (lines, says) in [
            (good.replace("\"a\"", "\"A\""), "the name of a destination"),
            (good.replace("http://h/d", "h/secret"), "url must be one"),
            (
                good.replace("http://h/d", "ftp://h/secret"),
                "http:// or https://",
            ),
            (
                good.replace("http://h/d", "http://u:secret@h/d"),
                "user or a password",
            ),
            (
                good.replace("http://h/d", "http://h/d?t=secret"),
                "end with its path",
            ),
            (format!("{good}timeout-seconds = 0"), "1 to 3600"),
            (format!("{good}format = \"fhir\""), "for a webhook"),
            (format!("{good}objects = []"), "report, heatmap or both"),
            (format!("{good}objects = [\"images\"]"), "unknown variant"),
            (
                format!("{good}objects = [\"report\"]").replace("stow", "webhook"),
                "for an archive",
            ),
            (format!("{good}use = []"), "results"),
            (
                format!("{good}ae-title = \"A_TITLE_TOO_LONG_\""),
                "1 to 16 characters",
            ),
            (
                format!("{}use = [\"studies\"]", good.replace("stow", "webhook")),
                "a webhook has no studies",
            ),
            (format!("{good}use = [\"everything\"]"), "everything"),
            (format!("{good}user = \"u\""), "belong together"),
            (
                format!("{good}user = \"u\"\npassword-file = \"p\"\nbearer-token-file = \"t\""),
                "not both",
            ),
            (format!("{good}user = \"u:v\"\npassword-file = \"p\""), "colon"),
            (format!("{good}pasword = \"u\""), "unknown field"),
            (format!("{good}port = 104"), "for kind dimse"),
            (good.replace("stow", "dimse"), "needs host, port"),
            (good.replace("url = \"http://h/d\"", ""), "url must be one"),
            (format!("{dimse}timeout-seconds = 0"), "1 to 3600"),
            (format!("{dimse}url = \"http://h/secret\""), "has no url"),
            (format!("{dimse}user = \"secret\""), "has no url"),
            (dimse.replace("104", "0"), "needs host, port"),
            (format!("{dimse}use = [\"studies\"]"), "by DICOMweb alone"),
            (dimse.replace("\"P\"", "\"TOO LONG FOR A TITLE\""), "1 to 16"),
            (
                format!("{good}[[destinations]]\n{good}"),
                "two destinations named a",
            ),
        ] {
            let error = one(&lines).unwrap_err();
            assert!(error.contains(says), "{lines}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn an_archive_takes_what_it_is_said_to_take() {
        let classes = [
            uids::COMPREHENSIVE3_DSR_STORAGE,
            uids::SECONDARY_CAPTURE_IMAGE_STORAGE,
        ];
        for (lines, takes) in [
            ("", [true, true]),
            ("objects = [\"report\"]", [true, false]),
            ("objects = [\"heatmap\"]", [false, true]),
            ("objects = [\"heatmap\", \"report\"]", [true, true]),
        ] {
            let all = one(&format!(
                "name = \"a\"\nkind = \"stow\"\nurl = \"http://h/d\"\n{lines}"
            ))
            .unwrap();
            let destination = all.named("a").unwrap();
            assert_eq!(classes.map(|class| destination.takes(class)), takes, "{lines}");
        }
    }
}
