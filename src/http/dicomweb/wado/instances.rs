//! Whole instances (PS3.18 section 10.4.1.1.1): as they are stored, or in Explicit VR Little Endian, which is the default.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use dicom_dictionary_std::uids;
use futures_util::{StreamExt as _, stream};

use super::{Loaded, Retrieval, cannot, not_found};
use crate::dicom::media_type::MediaType;
use crate::dicom::{Instance, PixelData, explicit, inflated_memory};
use crate::fault::Fault;
use crate::http::dicomweb::accept::{of_parts, parts_take, takes};
use crate::http::dicomweb::parts::{self, Part, Pieces};
use crate::http::dicomweb::service::{Service, warn};
use crate::http::error::HttpError;
use crate::image::{raw, stored};
use crate::store::{InstanceRow, Store};

const DICOM: &str = "application/dicom";

/// How instances are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// One instance as the whole body.
    alone: bool,
    /// As stored, and not in Explicit VR Little Endian.
    stored: bool,
}

impl Wanted {
    fn of(range: &MediaType, rows: &[InstanceRow], one: bool) -> Option<Self> {
        let several = of_parts(range).is_some_and(|parts| parts_take(parts, DICOM));
        let alone = !several && one && takes(range, DICOM);
        if !several && !alone {
            return None;
        }
        let stored = match range.parameter("transfer-syntax") {
            None | Some(uids::EXPLICIT_VR_LITTLE_ENDIAN) => false,
            Some("*") => true,
            Some(uid) if rows.iter().all(|row| row.instance.transfer_syntax == uid) => true,
            Some(_) => return None,
        };
        Some(Self { alone, stored })
    }
}

pub(super) async fn retrieve(request: Retrieval) -> Result<Response, HttpError> {
    Ok(respond(request).await?)
}

async fn respond(request: Retrieval) -> Result<Response, Fault> {
    let (kept, left_out) = request.kept().await?;
    let one = request.instance.is_some();
    let offered = "multipart/related; type=\"application/dicom\", or for one instance application/dicom, each with transfer-syntax=* \
                   for what is stored, or 1.2.840.10008.1.2.1";
    let wanted = request
        .accept
        .choose(offered, |range| Wanted::of(range, &kept, one))?;
    let Retrieval {
        store, service, base, ..
    } = request;
    let make = move |row: InstanceRow| {
        let (store, service) = (store.clone(), Arc::clone(&service));
        async move { part(&store, &service, &row, wanted.stored, one).await }
    };
    let mut parts = Box::pin(stream::iter(kept).then(make));
    // what fails at once is still an answer of its own
    let first = parts.next().await.unwrap_or_else(|| Err(not_found("instance")))?;
    if wanted.alone {
        return Ok(first.alone());
    }
    let mut response = parts::several(DICOM, stream::iter([Ok(first)]).chain(parts));
    if left_out > 0 {
        let text = "Some instances are left out: their images were removed by the retention policy.";
        warn(&mut response, &base, text);
    }
    Ok(response)
}

/// One instance. Where it cannot be written in Explicit VR Little Endian, it goes out as it is stored, and its part says so; one that
/// was asked for alone is refused.
async fn part(
    store: &Store,
    service: &Arc<Service>,
    row: &InstanceRow,
    stored: bool,
    strict: bool,
) -> Result<Part, Fault> {
    let syntax = row.instance.transfer_syntax.as_str();
    let Loaded { file, room } = service.load(store, row).await?;
    let as_stored = |file: Bytes| (syntax.to_owned(), parts::pieces([file]));
    // one that was repaired to be read is no file that every receiver reads
    let is_whole = file.get(128..132) == Some(b"DICM".as_slice());
    let (syntax, content) = if stored || (is_whole && syntax == uids::EXPLICIT_VR_LITTLE_ENDIAN) {
        as_stored(file)
    } else {
        let explicit = uids::EXPLICIT_VR_LITTLE_ENDIAN.to_owned();
        match uncompressed(service, file.clone()).await {
            Ok(content) => (explicit, content),
            Err(fault) if strict || !fault.is_callers() => return Err(fault),
            Err(_) => as_stored(file),
        }
    };
    let part = Part {
        content_type: format!("{DICOM}; transfer-syntax={syntax}"),
        location: None,
        content,
    };
    Ok(part.holding(room))
}

/// The file in Explicit VR Little Endian: its first frame is decoded now, the others when they are to be sent.
async fn uncompressed(service: &Arc<Service>, file: Bytes) -> Result<Pieces, Fault> {
    let instance = service.parse(file.clone()).await?;
    let beginning = Arc::clone(&instance);
    let memory = inflated_memory(&file);
    let begun = service.decode(memory, move || begin(&file, &beginning)).await;
    let Begun {
        mut pieces,
        mut frames,
        padded,
    } = begun.map_err(cannot)?;
    if let Some(first) = frames.next() {
        pieces.push(service.uncompressed(&instance, first).await?);
    }
    let service = Arc::clone(service);
    let frames = stream::iter(frames).then(move |frame| {
        let (service, instance) = (Arc::clone(&service), Arc::clone(&instance));
        async move { service.uncompressed(&instance, frame).await }
    });
    let padding = padded.then(|| Bytes::from_static(&[0]));
    Ok(Box::pin(
        parts::pieces(pieces).chain(frames).chain(parts::pieces(padding)),
    ))
}

/// A file whose beginning is written.
struct Begun {
    pieces: Vec<Bytes>,
    /// The frames that follow.
    frames: std::ops::RangeInclusive<u32>,
    /// Whether a byte is missing to an even length.
    padded: bool,
}

#[expect(clippy::reversed_empty_ranges, reason = "no frame follows")]
fn begin(file: &Bytes, instance: &Instance) -> Result<Begun, Fault> {
    let pixels = instance
        .pixels
        .as_ref()
        .map(|_| raw::uncompressed_pixels(instance))
        .transpose()?;
    let mut pieces = vec![Bytes::from(explicit::beginning(file, instance, pixels)?)];
    let mut frames = 1..=0;
    match &instance.pixels {
        None => {}
        Some(PixelData::Native(native)) => pieces.push(native.clone()),
        Some(PixelData::Encapsulated { .. }) => frames = 1..=stored::frames(instance)?,
    }
    Ok(Begun {
        pieces,
        frames,
        padded: pixels.is_some_and(|pixels| pixels.bytes % 2 == 1),
    })
}
