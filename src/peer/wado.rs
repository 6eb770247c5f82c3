//! Studies from an archive: listed by QIDO-RS and fetched by WADO-RS, one instance at a time.
//!
//! Invariants: every URL is made of the configured one and of UIDs; of what an archive answers, only UIDs and the bytes of instances are
//! looked at, never a URL; never more than one instance is held, and of it no more than the limit; bytes stay as they came.
//!
//! This is a client of our own for the reasons of `stow.rs`, and because the client of the `dicom-web` crate parses what it fetches
//! without a bound on nesting, where a peer could abort the process, and drops the bytes
//! (`docs/decisions/0019-our-own-client-for-fetching.md`).

use std::collections::HashSet;

use bytes::Bytes;
use reqwest::Response;
use reqwest::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

use super::http::Http;
use super::reading::{DICOM_JSON, data_sets, refusal};
use super::{Destination, PeerError};
use crate::dicom::media_type::MediaType;
use crate::dicom::multipart::{MultipartReader, Step};
use crate::dicom::{InstanceUid, SeriesUid, StudyUid};

/// How many instances are asked for at once; an archive may give fewer.
const PAGE: usize = 500;
/// More bytes of one page are not read.
const MOST_OF_A_PAGE: usize = 16 << 20;
/// No study of radiographs has more instances.
const MOST_INSTANCES: usize = 20_000;

/// As stored: nothing is gained by an archive that decodes for us (PS3.18 section 8.7.3.5.2).
const AS_STORED: &str = "multipart/related; type=\"application/dicom\"; transfer-syntax=*";

/// An instance that an archive has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The series it belongs to.
    pub series: SeriesUid,
    /// Its SOP Instance UID.
    pub uid: InstanceUid,
}

/// An archive that studies are fetched from.
pub struct Source<'a> {
    http: Http,
    base: &'a str,
    limit: usize,
}

impl<'a> Source<'a> {
    /// The archive that the configuration calls `peer`, of whose instances none may have more than `limit` bytes.
    ///
    /// # Errors
    /// [`PeerError`] where its credentials cannot be read.
    pub async fn open(peer: &'a Destination, limit: usize) -> Result<Self, PeerError> {
        Ok(Self {
            http: Http::to(peer).await?,
            base: peer.base(),
            limit,
        })
    }

    /// The instances of a study: QIDO-RS (PS3.18 section 10.6), page by page until nothing new comes, however long the pages of this
    /// archive are.
    ///
    /// # Errors
    /// [`PeerError`]: `not-found`, which another attempt does not change, where it has none.
    pub async fn list(&self, study: &StudyUid) -> Result<Vec<Listed>, PeerError> {
        let (mut listed, mut known) = (Vec::new(), HashSet::new());
        loop {
            let place = format!(
                "{}/studies/{study}/instances?includefield=0020000E&limit={PAGE}&offset={}",
                self.base,
                listed.len()
            );
            let response = self.get(&place, DICOM_JSON).await?;
            let page = match response.status().as_u16() {
                204 | 404 => Vec::new(),
                200..=299 => data_sets(response, MOST_OF_A_PAGE).await?,
                _ => return Err(refusal(&response)),
            };
            let before = listed.len();
            for item in &page {
                let one = listed_of(item)?;
                if known.insert(one.uid.clone()) {
                    listed.push(one);
                }
            }
            if listed.len() > MOST_INSTANCES {
                let message = format!("the study has more than {MOST_INSTANCES} instances");
                return Err(PeerError::lasting("too-large", message));
            }
            if listed.len() == before {
                break;
            }
        }
        if listed.is_empty() {
            return Err(PeerError::lasting(
                "not-found",
                "the peer has no instance of this study",
            ));
        }
        Ok(listed)
    }

    /// The bytes of one instance as the archive has them: WADO-RS (PS3.18 section 10.4).
    ///
    /// # Errors
    /// [`PeerError`]: `not-found` and `too-large` are about this instance alone.
    pub async fn fetch(&self, study: &StudyUid, instance: &Listed) -> Result<Bytes, PeerError> {
        let Listed { series, uid } = instance;
        let place = format!("{}/studies/{study}/series/{series}/instances/{uid}", self.base);
        let response = self.get(&place, AS_STORED).await?;
        match response.status().as_u16() {
            200 => self.instance(response).await,
            404 | 410 => Err(PeerError::lasting(
                "not-found",
                "the peer lists an instance that it does not have",
            )),
            _ => Err(refusal(&response)),
        }
    }

    /// The instance in an answer: the first part of a multipart one, or all of it.
    async fn instance(&self, mut response: Response) -> Result<Bytes, PeerError> {
        let content_type = response.headers().get(CONTENT_TYPE);
        let media = content_type
            .and_then(|value| value.to_str().ok())
            .and_then(MediaType::parse)
            .ok_or_else(unreadable)?;
        if response
            .content_length()
            .is_some_and(|length| length > self.limit as u64 + (64 << 10))
        {
            return Err(self.too_large());
        }
        match (media.essence.as_str(), media.parameter("boundary")) {
            ("application/dicom", _) => self.whole(response).await,
            ("multipart/related", Some(boundary)) => {
                let mut reader = MultipartReader::new(boundary, self.limit).map_err(|_| unreadable())?;
                while let Some(piece) = response.chunk().await.map_err(|error| PeerError::from(&error))? {
                    reader.push(&piece);
                    match reader.step().map_err(|_| unreadable())? {
                        Step::More => {}
                        Step::Part(bytes) => return Ok(bytes),
                        Step::TooLarge => return Err(self.too_large()),
                        Step::End => break,
                    }
                }
                Err(unreadable())
            }
            _ => Err(unreadable()),
        }
    }

    async fn whole(&self, mut response: Response) -> Result<Bytes, PeerError> {
        let mut file = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| PeerError::from(&error))? {
            file.extend_from_slice(&piece);
            if file.len() > self.limit {
                return Err(self.too_large());
            }
        }
        Ok(file.into())
    }

    fn too_large(&self) -> PeerError {
        let message = format!(
            "an instance has more than the {} bytes that are taken",
            self.limit
        );
        PeerError::lasting("too-large", message)
    }

    async fn get(&self, place: &str, accept: &str) -> Result<Response, PeerError> {
        let response = self.http.get(place).header(ACCEPT, accept).send().await;
        response.map_err(|error| PeerError::from(&error))
    }
}

/// What a data set of a search is about, if its UIDs are valid: they become parts of URLs.
fn listed_of(item: &Value) -> Result<Listed, PeerError> {
    let uid = |tag: &str| item[tag]["Value"][0].as_str().unwrap_or_default();
    let wrong = |_| {
        let message = "the archive lists an instance without a valid UID of its own and of its series";
        PeerError::passing("bad-answer", message)
    };
    Ok(Listed {
        series: SeriesUid::parse(uid("0020000E")).map_err(wrong)?,
        uid: InstanceUid::parse(uid("00080018")).map_err(wrong)?,
    })
}

fn unreadable() -> PeerError {
    PeerError::passing(
        "bad-answer",
        "the archive's answer holds no DICOM file in multipart/related or application/dicom",
    )
}
