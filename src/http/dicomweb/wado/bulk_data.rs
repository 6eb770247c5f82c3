//! Bulk data (PS3.18 section 10.4.1.1.5): what metadata names by a URI.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use dicom_dictionary_std::tags;
use futures_util::{StreamExt as _, stream};

use super::{Loaded, Retrieval, cannot};
use crate::dicom::Instance;
use crate::dicom::json::BulkPath;
use crate::fault::{Fault, FaultKind};
use crate::http::dicomweb::accept::{of_parts, parts_take, takes};
use crate::http::dicomweb::parts::{self, Part, Pieces, pieces};
use crate::http::dicomweb::service::Service;
use crate::http::error::HttpError;
use crate::image::stored;

const OCTETS: &str = "application/octet-stream";

pub(super) async fn retrieve(request: Retrieval) -> Result<Response, HttpError> {
    Ok(respond(request).await?)
}

async fn respond(request: Retrieval) -> Result<Response, Fault> {
    let path = request.place.get("path").map_or("", String::as_str);
    let path: BulkPath = path.parse().map_err(|_| {
        let message =
            "bulk data is named by its tag of eight hexadecimal digits, or inside a sequence by TAG/ITEM/TAG";
        Fault::new(FaultKind::Invalid, "bulk-data", message)
    })?;
    let offered = "application/octet-stream, or multipart/related; type=\"application/octet-stream\"";
    let alone = request.accept.choose(offered, |range| {
        let parts = of_parts(range).is_some_and(|parts| parts_take(parts, OCTETS));
        if parts {
            Some(false)
        } else {
            takes(range, OCTETS).then_some(true)
        }
    })?;
    let row = request.one().await?;
    let service = request.service;
    let Loaded { file, room } = service.load(&request.store, &row).await?;
    let instance = service.parse(file).await?;
    let content = if path.top_level() == Some(tags::PIXEL_DATA) {
        pixels(&service, instance).await?
    } else {
        let value = path.value(&instance.header).ok_or_else(|| {
            let message = "the instance has no such attribute: its metadata names what there is";
            Fault::new(FaultKind::NotFound, "not-found", message)
        })?;
        pieces([Bytes::from(value)])
    };
    let part = Part {
        content_type: OCTETS.to_owned(),
        location: None,
        content,
    };
    let part = part.holding(room);
    if alone {
        return Ok(part.alone());
    }
    Ok(parts::several(OCTETS, stream::iter([Ok(part)])))
}

/// All frames, uncompressed, one after the other.
async fn pixels(service: &Arc<Service>, instance: Arc<Instance>) -> Result<Pieces, Fault> {
    let frames = stored::frames(&instance).map_err(|error| cannot(error.into()))?;
    let service = Arc::clone(service);
    let decode = move |frame: u32| {
        let (service, instance) = (Arc::clone(&service), Arc::clone(&instance));
        async move { service.uncompressed(&instance, frame).await }
    };
    let first = decode(1).await?;
    Ok(Box::pin(
        pieces([first]).chain(stream::iter(2..=frames).then(decode)),
    ))
}
