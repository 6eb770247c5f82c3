//! Images from an archive: found by QIDO-RS, fetched by WADO-RS, one at a time (PS3.18 sections 10.4 and 10.6).
//!
//! Invariants: every URL is made of the one that the user named and of UIDs; of what the archive answers, only UIDs, the modality and
//! the bytes of instances are looked at, never a URL; redirections are not followed. Nothing is written to the archive.
//!
//! It is not the client of `peer`: serving and training do not import each other, and this one may wait.

use std::collections::HashSet;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::blocking::{Client, RequestBuilder, Response};
use reqwest::header::{ACCEPT, CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use serde_json::Value;

use crate::dicom::media_type::MediaType;
use crate::dicom::multipart::{MultipartReader, Step};
use crate::dicom::{InstanceUid, SeriesUid, StudyUid};

/// How many studies or instances are asked for at once; an archive may give fewer.
const PAGE: usize = 500;
/// More bytes of one page are not read.
const MOST_OF_A_PAGE: u64 = 64 << 20;
/// More bytes of one instance are not read.
const MOST_OF_AN_INSTANCE: usize = 1 << 30;
/// Attempts for one answer, with pauses of 1, 2 and 4 seconds between them.
const ATTEMPTS: u32 = 4;
/// An archive that asks for a longer pause is asked again sooner.
const LONGEST_PAUSE: u64 = 60;
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_mins(5);
const DICOM_JSON: &str = "application/dicom+json";
/// As stored: nothing is gained by an archive that decodes for us (PS3.18 section 8.7.3.5.2).
const AS_STORED: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";

/// How the archive knows us.
#[derive(Clone, Debug, Default)]
pub enum Credentials {
    /// It does not ask.
    #[default]
    None,
    /// A token in a file (RFC 6750).
    Bearer(PathBuf),
    /// A user, and a password in a file (RFC 7617).
    Basic(String, PathBuf),
}

/// Why there is no answer. No variant shows a UID.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The URL, or a file with a secret.
    #[error("{0}")]
    Setting(String),
    /// No connection, or it broke.
    #[error("the archive cannot be reached: {0}")]
    Unreachable(String),
    /// A status that is no success.
    #[error("the archive answers {0}")]
    Status(StatusCode),
    /// What it says is no answer.
    #[error("the archive's answer is not {0}")]
    Answer(&'static str),
}

/// An instance that an archive has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its study.
    pub study: StudyUid,
    /// Its series.
    pub series: SeriesUid,
    /// Its own UID.
    pub uid: InstanceUid,
    /// Its modality, if the archive says.
    pub modality: Option<String>,
}

/// An archive.
pub struct Archive {
    client: Client,
    base: String,
    credentials: Secret,
    /// What studies are searched by, ready for a URL.
    query: String,
}

enum Secret {
    None,
    Bearer(String),
    Basic(String, String),
}

impl Archive {
    /// The archive whose DICOMweb services are at `url`; of its studies, those that match all of `query`, such as
    /// `ModalitiesInStudy=DX`.
    ///
    /// # Errors
    /// [`ArchiveError::Setting`], which says what would be right.
    pub fn open(
        url: &str,
        credentials: &Credentials,
        query: &[(String, String)],
    ) -> Result<Self, ArchiveError> {
        let setting = |cause: String| ArchiveError::Setting(cause);
        let parsed = reqwest::Url::parse(url).map_err(|_| {
            setting(format!(
                "{url} is no URL: write it as https://archive.example/dicom-web"
            ))
        })?;
        if !["http", "https"].contains(&parsed.scheme()) || parsed.host().is_none() {
            return Err(setting(format!(
                "{url} must begin with http:// or https:// and a host"
            )));
        }
        if parsed.password().is_some() || !parsed.username().is_empty() || parsed.query().is_some() {
            return Err(setting(
                "the archive's URL may have neither user nor password nor a query: give them by their own options".to_owned(),
            ));
        }
        let secret = |file: &Path| {
            let text = std::fs::read_to_string(file)
                .map_err(|error| setting(format!("{} cannot be read: {error}", file.display())))?;
            Ok(text.trim().to_owned())
        };
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT)
            .timeout(ANSWER)
            .user_agent(concat!("osteon-train/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| setting(format!("no connections can be made: {error}")))?;
        let mut place = parsed.clone();
        place.query_pairs_mut().extend_pairs(query);
        Ok(Self {
            client,
            base: parsed.as_str().trim_end_matches('/').to_owned(),
            credentials: match credentials {
                Credentials::None => Secret::None,
                Credentials::Bearer(file) => Secret::Bearer(secret(file)?),
                Credentials::Basic(user, file) => Secret::Basic(user.clone(), secret(file)?),
            },
            query: match place.query() {
                Some(query) if !query.is_empty() => format!("&{query}"),
                _ => String::new(),
            },
        })
    }

    /// Its studies, and how many instances each has, if the archive says: page by page until nothing new comes.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn studies(&self) -> Result<Vec<(StudyUid, Option<u64>)>, ArchiveError> {
        let search = |offset| {
            format!(
                "/studies?includefield=00201208&limit={PAGE}&offset={offset}{}",
                self.query
            )
        };
        self.pages(search, |item| {
            let study = StudyUid::parse(text(item, "0020000D")?).ok()?;
            let count = &item["00201208"]["Value"][0];
            let count = count.as_u64().or_else(|| count.as_str()?.trim().parse().ok());
            Some((study.to_string(), (study, count)))
        })
    }

    /// The instances of a study.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn instances(&self, study: &StudyUid) -> Result<Vec<Listed>, ArchiveError> {
        let search = |offset| {
            format!(
                "/studies/{study}/instances?includefield=0020000E&includefield=00080060&limit={PAGE}&offset={offset}"
            )
        };
        self.pages(search, |item| {
            let uid = InstanceUid::parse(text(item, "00080018")?).ok()?;
            let listed = Listed {
                study: study.clone(),
                series: SeriesUid::parse(text(item, "0020000E")?).ok()?,
                uid: uid.clone(),
                modality: text(item, "00080060").map(str::to_uppercase),
            };
            Some((uid.to_string(), listed))
        })
    }

    /// The bytes of one instance as the archive has them.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn fetch(
        &self,
        study: &StudyUid,
        series: &SeriesUid,
        uid: &InstanceUid,
    ) -> Result<Bytes, ArchiveError> {
        let place = format!("/studies/{study}/series/{series}/instances/{uid}");
        let mut response = self.get(&place, AS_STORED)?;
        let unreadable = || ArchiveError::Answer("a DICOM file in multipart/related or application/dicom");
        let content_type = response.headers().get(CONTENT_TYPE);
        let media = content_type
            .and_then(|value| value.to_str().ok())
            .and_then(MediaType::parse)
            .ok_or_else(unreadable)?;
        if media.essence == "application/dicom" {
            return whole(response, MOST_OF_AN_INSTANCE as u64).map(Bytes::from);
        }
        let boundary = media.parameter("boundary").ok_or_else(unreadable)?;
        let mut reader = MultipartReader::new(boundary, MOST_OF_AN_INSTANCE).map_err(|_| unreadable())?;
        let mut piece = vec![0; 256 << 10];
        loop {
            let count = response.read(&mut piece).map_err(|error| broken(&error))?;
            reader.push(&piece[..count]);
            match reader.step().map_err(|_| unreadable())? {
                Step::Part(bytes) => return Ok(bytes),
                Step::More if count > 0 => {}
                Step::More | Step::TooLarge | Step::End => return Err(unreadable()),
            }
        }
    }

    /// All items of a search that `read` understands, each once by its key.
    fn pages<T>(
        &self,
        search: impl Fn(usize) -> String,
        read: impl Fn(&Value) -> Option<(String, T)>,
    ) -> Result<Vec<T>, ArchiveError> {
        let (mut all, mut known) = (Vec::new(), HashSet::new());
        loop {
            let before = all.len();
            let response = self.get(&search(before), DICOM_JSON)?;
            if response.status() == StatusCode::NO_CONTENT {
                break;
            }
            let body = whole(response, MOST_OF_A_PAGE)?;
            let page: Vec<Value> =
                serde_json::from_slice(&body).map_err(|_| ArchiveError::Answer("a list in DICOM JSON"))?;
            for (key, item) in page.iter().filter_map(&read) {
                if known.insert(key) {
                    all.push(item);
                }
            }
            // an archive may give all at once, or less than was asked for
            if all.len() == before {
                break;
            }
        }
        Ok(all)
    }

    fn get(&self, place: &str, accept: &str) -> Result<Response, ArchiveError> {
        let mut attempt = 1;
        loop {
            let request = self
                .client
                .get(format!("{}{place}", self.base))
                .header(ACCEPT, accept);
            let (error, pause) = match self.sign(request).send() {
                Ok(response) if response.status().is_success() => return Ok(response),
                Ok(response) => (ArchiveError::Status(response.status()), pause(&response)),
                Err(error) => (broken(&error), Some(0)),
            };
            let Some(asked) = pause.filter(|_| attempt < ATTEMPTS) else {
                return Err(error);
            };
            let own = 1_u64 << (attempt - 1);
            std::thread::sleep(Duration::from_secs(asked.max(own).min(LONGEST_PAUSE)));
            attempt += 1;
        }
    }

    fn sign(&self, request: RequestBuilder) -> RequestBuilder {
        match &self.credentials {
            Secret::None => request,
            Secret::Bearer(token) => request.bearer_auth(token),
            Secret::Basic(user, password) => request.basic_auth(user, Some(password)),
        }
    }
}

/// How many seconds to wait for another attempt; none where another is of no use.
fn pause(response: &Response) -> Option<u64> {
    let passes = matches!(response.status().as_u16(), 408 | 425 | 429 | 500 | 502..=504);
    let asked = response.headers().get(RETRY_AFTER);
    let seconds = asked.and_then(|value| value.to_str().ok()?.parse().ok());
    passes.then(|| seconds.unwrap_or(0))
}

fn whole(response: Response, most: u64) -> Result<Vec<u8>, ArchiveError> {
    let mut body = Vec::new();
    let read = response.take(most + 1).read_to_end(&mut body);
    read.map_err(|error| broken(&error))?;
    if body.len() as u64 > most {
        return Err(ArchiveError::Answer("short enough"));
    }
    Ok(body)
}

/// What went wrong with a connection, without the URL: it has UIDs.
fn broken(error: &(dyn std::error::Error + 'static)) -> ArchiveError {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    let words = match cause.downcast_ref::<reqwest::Error>() {
        Some(error) if error.is_timeout() => "it did not answer in time".to_owned(),
        Some(_) => "the connection broke".to_owned(),
        None => cause.to_string(),
    };
    ArchiveError::Unreachable(words)
}

fn text<'a>(item: &'a Value, tag: &str) -> Option<&'a str> {
    item[tag]["Value"][0].as_str()
}
