//! Images from an archive: found by QIDO-RS, fetched by WADO-RS (PS3.18 sections 10.4 and 10.6).
//!
//! ```text
//!   Archive: studies, instances, fetch
//!     -> pages          all items of a search, from archives that page in their own way
//!     -> connection     one answer, asked for again where that may help
//!          -> credentials     read again when they are refused
//! ```
//!
//! Invariants: every URL is made of the one that the user named and of UIDs; of what the archive answers, only UIDs, the modality, counts
//! and the bytes of instances are looked at, never a URL. Nothing is written to the archive.
//!
//! It is not the client of `peer`: serving and training do not import each other, and this one may wait.

mod connection;
mod credentials;
mod pages;
#[cfg(test)]
mod tests;

use std::io::Read;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::blocking::Response;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use crate::dicom::media_type::MediaType;
use crate::dicom::multipart::{MultipartReader, Step};
use crate::dicom::{Instance, InstanceUid, SeriesUid, StudyUid};
use connection::{Connection, broken, whole};
pub use credentials::Credentials;
pub use pages::Listing;

/// More bytes of one page are not read.
const MOST_OF_A_PAGE: u64 = 64 << 20;
/// More bytes of one instance are not read.
const MOST_OF_AN_INSTANCE: usize = 1 << 30;
const DICOM_JSON: &str = "application/dicom+json";
/// As stored: nothing is gained by an archive that decodes for us (PS3.18 section 8.7.3.5.2).
const AS_STORED: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";
/// What the program itself says in a search.
const OWN_KEYS: [&str; 3] = ["limit", "offset", "includefield"];

/// Why there is no answer. No variant shows a UID, a URL or a secret.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The URL, or a file with a secret.
    #[error("{0}")]
    Setting(String),
    /// 401: what to do.
    #[error("{0} (401 Unauthorized)")]
    Refused(String),
    /// No connection, or it broke.
    #[error("the connection to the archive failed: {0}")]
    Unreachable(String),
    /// A status that is no success.
    #[error("the archive answers {0}{hint}", hint = hint(*.0))]
    Status(StatusCode),
    /// What it says is no answer.
    #[error("the archive's answer is not {0}")]
    Answer(&'static str),
    /// It answers, and gives nothing.
    #[error("the archive gave none of the last {count} images: {cause}")]
    Nothing {
        /// So many in a row.
        count: usize,
        /// Why the first of them was not given.
        cause: String,
    },
}

impl ArchiveError {
    /// Whether another attempt may help.
    fn passes(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Status(status) => matches!(status.as_u16(), 408 | 425 | 429 | 500 | 502..=504),
            _ => false,
        }
    }
}

/// What a status asks of the user, where that is not plain.
fn hint(status: StatusCode) -> &'static str {
    match status.as_u16() {
        300..=399 => ": it sends elsewhere, which is not followed; name the place itself",
        403 => ": it does not allow this to this login",
        413 => ": narrow the search by --query",
        _ => "",
    }
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
    connection: Connection,
    /// What studies are searched by, ready for a URL.
    query: String,
}

impl Archive {
    /// The archive whose DICOMweb services are at `url`; of its studies, those that match all of `query`, such as
    /// `ModalitiesInStudy=DX`.
    ///
    /// # Errors
    /// [`ArchiveError::Setting`], which says what would be right.
    pub fn open(
        url: &str,
        credentials: Credentials,
        query: &[(String, String)],
    ) -> Result<Self, ArchiveError> {
        let setting = |cause: String| ArchiveError::Setting(cause);
        // it may have a password
        let shown = if url.contains('@') {
            "the archive's URL"
        } else {
            url
        };
        let parsed = reqwest::Url::parse(url).map_err(|_| {
            setting(format!(
                "{shown} is no URL: write it as https://archive.example/dicom-web"
            ))
        })?;
        if !["http", "https"].contains(&parsed.scheme()) || parsed.host().is_none() {
            return Err(setting(format!(
                "{shown} must begin with http:// or https:// and a host"
            )));
        }
        if parsed.password().is_some() || !parsed.username().is_empty() || parsed.query().is_some() {
            return Err(setting(
                "the archive's URL may have neither user nor password nor a query: give them by their own options".to_owned(),
            ));
        }
        if let Some((key, _)) = query.iter().find(|(key, _)| OWN_KEYS.contains(&key.as_str())) {
            return Err(setting(format!(
                "{key} is set by the program itself: a query says what studies have to match, such as ModalitiesInStudy=DX"
            )));
        }
        let mut place = parsed.clone();
        place.query_pairs_mut().extend_pairs(query);
        let query = match place.query() {
            Some(query) if !query.is_empty() => format!("&{query}"),
            _ => String::new(),
        };
        let base = parsed.as_str().trim_end_matches('/').to_owned();
        let simplest = format!("/studies?limit=1{query}");
        Ok(Self {
            connection: Connection::new(base, credentials, simplest)?,
            query,
        })
    }

    /// Why it gives nothing more, if that is so: it is gone, or it does not let us in any more.
    #[must_use]
    pub fn ended(&self) -> Option<&ArchiveError> {
        self.connection.ended()
    }

    /// Its studies, and how many instances each has, if the archive says.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn studies(&self) -> Result<Listing<(StudyUid, Option<u64>)>, ArchiveError> {
        let search = |offset, limit| {
            self.search(&format!(
                "/studies?includefield=00201208&limit={limit}&offset={offset}{}",
                self.query
            ))
        };
        pages::all("0020000D", None, search, |item| {
            let study = StudyUid::parse(text(item, "0020000D")?).ok()?;
            let count = &item["00201208"]["Value"][0];
            let count = count.as_u64().or_else(|| count.as_str()?.trim().parse().ok());
            Some((study, count))
        })
    }

    /// The instances of a study, of which there are `total`, if that is known.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn instances(&self, study: &StudyUid, total: Option<u64>) -> Result<Listing<Listed>, ArchiveError> {
        let search = |offset, limit| {
            self.search(&format!(
                "/studies/{study}/instances?includefield=0020000E&includefield=00080060&limit={limit}&offset={offset}"
            ))
        };
        pages::all("00080018", total, search, |item| {
            Some(Listed {
                study: study.clone(),
                series: SeriesUid::parse(text(item, "0020000E")?).ok()?,
                uid: InstanceUid::parse(text(item, "00080018")?).ok()?,
                modality: text(item, "00080060").map(str::to_uppercase),
            })
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
        let bytes = self.connection.get(&place, AS_STORED, first_part)?;
        match Instance::parse(bytes.clone()) {
            Ok(instance) if instance.uid != *uid => {
                Err(ArchiveError::Answer("the instance that was asked for"))
            }
            // what is wrong with it is said by whoever reads it
            _ => Ok(bytes),
        }
    }

    /// One page of a search.
    fn search(&self, place: &str) -> Result<Vec<Value>, ArchiveError> {
        self.connection.get(place, DICOM_JSON, |response| {
            if response.status() == StatusCode::NO_CONTENT {
                return Ok(Vec::new());
            }
            let body = whole(response, MOST_OF_A_PAGE)?;
            serde_json::from_slice(&body).map_err(|error| {
                if error.is_eof() {
                    broke_off()
                } else {
                    ArchiveError::Answer("a list in DICOM JSON")
                }
            })
        })
    }
}

/// The first part of a multipart body, or all of one that is no multipart.
fn first_part(mut response: Response) -> Result<Bytes, ArchiveError> {
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
            Step::More => return Err(broke_off()),
            Step::TooLarge => return Err(ArchiveError::Answer("smaller than 1 GiB")),
            Step::End => return Err(unreadable()),
        }
    }
}

fn broke_off() -> ArchiveError {
    ArchiveError::Unreachable("its answer broke off".to_owned())
}

/// The first value of an element in DICOM JSON, if it is text.
fn text<'a>(item: &'a Value, tag: &str) -> Option<&'a str> {
    item[tag]["Value"][0].as_str()
}
