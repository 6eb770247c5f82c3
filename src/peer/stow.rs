//! Objects for an archive: asked for, stored, and looked for again.
//!
//! This is a thin adapter of our own, and not the client of the `dicom-web` crate, because that one cannot be given a configured
//! HTTP client: it follows redirects to wherever a peer points, waits without end, reads answers of any length, takes 204 for an
//! error, and drops Retry-After and the body of every answer that is no success, and with it the reasons of the 409 by which an
//! object that no attempt will ever get in is told from an archive that is full.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::sleep;

use super::answer::{self, Said};
use super::http::Http;
use super::reading::{DICOM_JSON, body, data_sets, refusal};
use super::{Delivered, Destination, Parcel, ParcelObject, PeerError};
use crate::dicom::uid;
use crate::failpoint;

/// How long is waited before each look for what was stored: some archives index what they took a moment later.
pub(super) const LOOKS: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(250),
    Duration::from_millis(750),
    Duration::from_secs(2),
];

/// More of an archive's answer is not read.
const MOST_OF_AN_ANSWER: usize = 1 << 20;

/// Stores what the archive does not hold yet, and finds it there.
pub(super) async fn deliver(destination: &Destination, parcel: &Parcel) -> Result<Delivered, PeerError> {
    let archive = Archive {
        http: Http::to(destination).await?,
        base: destination.base(),
        parcel,
    };
    let mut missing = Vec::new();
    for object in &parcel.objects {
        if !archive.holds(object).await? {
            missing.push(object);
        }
    }
    if !missing.is_empty() {
        archive.store(&missing).await?;
        for object in &missing {
            archive.verify(object).await?;
        }
    }
    Ok(Delivered {
        sent: missing.len(),
        already_there: parcel.objects.len() - missing.len(),
    })
}

struct Archive<'a> {
    http: Http,
    base: &'a str,
    parcel: &'a Parcel,
}

/// What a search says of one object.
enum Found {
    Yes,
    No,
    /// There is no such search here, or it does not know the filters.
    Unknown,
}

impl Archive<'_> {
    async fn holds(&self, object: &ParcelObject) -> Result<bool, PeerError> {
        match self.search(object).await? {
            Found::Yes => Ok(true),
            Found::No => Ok(false),
            Found::Unknown => self.has_metadata(object).await,
        }
    }

    /// Whether the archive lists the object: QIDO-RS, all instances (PS3.18 section 10.6).
    async fn search(&self, object: &ParcelObject) -> Result<Found, PeerError> {
        let (study, uid) = (&self.parcel.study, &object.uid);
        let place = format!(
            "{}/instances?StudyInstanceUID={study}&SOPInstanceUID={uid}&limit=1",
            self.base
        );
        let response = self.send(self.http.get(place)).await?;
        match response.status().as_u16() {
            204 => Ok(Found::No),
            200..=299 => {
                let found = data_sets(response, MOST_OF_AN_ANSWER).await?;
                Ok(if names(&found, object) {
                    Found::Yes
                } else if found.is_empty() {
                    Found::No
                } else {
                    Found::Unknown
                })
            }
            400 | 404 | 405 | 501 => Ok(Found::Unknown),
            _ => Err(refusal(&response)),
        }
    }

    /// Whether the archive can return the object: WADO-RS, its metadata (PS3.18 section 10.4.1.1.3).
    async fn has_metadata(&self, object: &ParcelObject) -> Result<bool, PeerError> {
        let (study, series, uid) = (&self.parcel.study, &object.series, &object.uid);
        let place = format!(
            "{}/studies/{study}/series/{series}/instances/{uid}/metadata",
            self.base
        );
        let response = self.send(self.http.get(place)).await?;
        match response.status().as_u16() {
            204 | 404 | 410 => Ok(false),
            200..=299 => Ok(names(&data_sets(response, MOST_OF_AN_ANSWER).await?, object)),
            _ => Err(refusal(&response)),
        }
    }

    /// Sends the objects in one request: STOW-RS (PS3.18 section 10.5).
    async fn store(&self, objects: &[&ParcelObject]) -> Result<(), PeerError> {
        let boundary = uid::derived(&["osteon", "boundary", &self.parcel.key]);
        let media_type = format!("multipart/related; type=\"application/dicom\"; boundary=\"{boundary}\"");
        let request = self
            .http
            .post(format!("{}/studies", self.base))
            .header(CONTENT_TYPE, media_type)
            .body(multipart(objects, &boundary));
        let response = self.send(request).await?;
        let status = response.status();
        if !status.is_success() && status != StatusCode::CONFLICT {
            return Err(refusal(&response));
        }
        let body = body(response, MOST_OF_AN_ANSWER).await?;
        let ours: Vec<_> = objects.iter().map(|object| object.uid.as_str()).collect();
        match answer::read(&body, &ours) {
            Said::Failed(error) => Err(error),
            // a conflict without a reason
            Said::Nothing if !status.is_success() => Err(answer::rejected(None)),
            // whatever it says, it is what is found there that counts
            Said::Nothing | Said::NotOurs => Ok(()),
        }
    }

    /// Some archives answer 200 and store nothing: only what is found there was delivered.
    async fn verify(&self, object: &ParcelObject) -> Result<(), PeerError> {
        if failpoint::is_off("deliver.no-verify") {
            return Ok(());
        }
        for pause in LOOKS {
            sleep(pause).await;
            if self.holds(object).await? {
                return Ok(());
            }
        }
        Err(PeerError::not_verified())
    }

    async fn send(&self, request: RequestBuilder) -> Result<Response, PeerError> {
        let response = request.header(ACCEPT, DICOM_JSON).send().await;
        response.map_err(|error| PeerError::from(&error))
    }
}

/// Whether one of the data sets is that of `object`, by its SOP Instance UID (0008,0018).
fn names(found: &[Value], object: &ParcelObject) -> bool {
    found
        .iter()
        .any(|found| found["00080018"]["Value"][0].as_str() == Some(object.uid.as_str()))
}

/// RFC 2046 section 5.1.
fn multipart(objects: &[&ParcelObject], boundary: &str) -> Vec<u8> {
    let length = objects.iter().map(|object| object.file.len() + 256).sum();
    let mut body = Vec::with_capacity(length);
    for object in objects {
        body.extend_from_slice(format!("--{boundary}\r\nContent-Type: application/dicom\r\n\r\n").as_bytes());
        body.extend_from_slice(&object.file);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    body
}
