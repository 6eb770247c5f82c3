//! Frames (PS3.18 section 10.4.1.1.6): uncompressed, which is the default, or as they are stored.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use dicom_dictionary_std::uids;
use futures_util::{StreamExt as _, stream};

use super::{Loaded, Retrieval, cannot};
use crate::dicom::media_type::MediaType;
use crate::dicom::{Instance, PixelData};
use crate::fault::{Fault, FaultKind};
use crate::http::dicomweb::accept::{of_parts, parts_take, takes};
use crate::http::dicomweb::parts::{self, Part, pieces};
use crate::http::dicomweb::service::Service;
use crate::http::error::HttpError;
use crate::image::stored;

const OCTETS: &str = "application/octet-stream";

/// How frames are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// One frame as the whole body.
    alone: bool,
    form: FrameForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameForm {
    /// Little endian.
    Uncompressed,
    /// The same, or as stored where it cannot be decoded: the caller takes anything.
    Any,
    /// As stored, as this media type.
    Stored(&'static str),
}

/// The media type of compressed pixels (PS3.18 table 8.7.3-5).
fn media_type(transfer_syntax: &str) -> &'static str {
    match transfer_syntax {
        uids::JPEG_BASELINE8_BIT
        | uids::JPEG_EXTENDED12_BIT
        | uids::JPEG_LOSSLESS
        | uids::JPEG_LOSSLESS_SV1 => "image/jpeg",
        uids::JPEGLS_LOSSLESS | uids::JPEGLS_NEAR_LOSSLESS => "image/jls",
        uids::JPEG2000_LOSSLESS | uids::JPEG2000 => "image/jp2",
        uids::HTJ2K_LOSSLESS | uids::HTJ2K_LOSSLESS_RPCL | uids::HTJ2K => "image/jphc",
        uids::JPEGXL_LOSSLESS | uids::JPEGXLJPEG_RECOMPRESSION | uids::JPEGXL => "image/jxl",
        uids::RLE_LOSSLESS => "image/dicom-rle",
        _ => OCTETS,
    }
}

impl Wanted {
    /// `syntax` is that of the stored frames.
    fn of(range: &MediaType, syntax: &str, one: bool) -> Option<Self> {
        let parts = of_parts(range);
        let alone = parts.is_none();
        if alone && !one {
            return None;
        }
        let covers = |essence: &str| match parts {
            Some(parts) => parts_take(parts, essence),
            None => takes(range, essence),
        };
        let (stored, asked) = (media_type(syntax), range.parameter("transfer-syntax"));
        let is_stored = asked == Some("*") || asked == Some(syntax);
        let form = if covers(OCTETS) {
            match asked {
                None if covers(stored) && stored != OCTETS => FrameForm::Any,
                None | Some(uids::EXPLICIT_VR_LITTLE_ENDIAN) => FrameForm::Uncompressed,
                // some viewers ask for compressed frames by this name
                _ if is_stored => FrameForm::Stored(if parts == Some("*/*") { stored } else { OCTETS }),
                _ => return None,
            }
        } else if covers(stored) && (asked.is_none() || is_stored) {
            FrameForm::Stored(stored)
        } else {
            return None;
        };
        Some(Self { alone, form })
    }
}

pub(super) async fn retrieve(request: Retrieval) -> Result<Response, HttpError> {
    Ok(respond(request).await?)
}

async fn respond(request: Retrieval) -> Result<Response, Fault> {
    let frames = list(request.place.get("frames").map_or("", String::as_str))?;
    let row = request.one().await?;
    let Loaded { file, room } = request.service.load(&request.store, &row).await?;
    let instance = request.service.parse(file).await?;
    check(&instance, &frames)?;
    let syntax = syntax_of(&instance);
    let offered = format!(
        "multipart/related; type=\"application/octet-stream\" in Explicit VR Little Endian, or as stored with transfer-syntax=* or \
         type=\"{}\"",
        media_type(&syntax)
    );
    let one = frames.len() == 1;
    let wanted = request
        .accept
        .choose(&offered, |range| Wanted::of(range, &syntax, one))?;
    let location = format!(
        "{}/studies/{}/series/{}/instances/{}/frames",
        request.base, row.instance.study, row.instance.series, row.instance.uid
    );
    let service = request.service;
    let make = move |frame: u32| {
        let (service, instance) = (Arc::clone(&service), Arc::clone(&instance));
        let (syntax, location) = (syntax.clone(), format!("{location}/{frame}"));
        async move {
            let mut part = part(&service, instance, &syntax, frame, wanted.form).await?;
            part.location = Some(location);
            Ok(part)
        }
    };
    let kind = match wanted.form {
        FrameForm::Stored(media) => media,
        _ => OCTETS,
    };
    let mut frames = frames.into_iter();
    let first = make(frames.next().unwrap_or_default()).await?;
    if wanted.alone {
        return Ok(first.holding(room).alone());
    }
    let rest = stream::iter(frames).then(make).map(move |part| {
        let _ = &room;
        part
    });
    Ok(parts::several(kind, stream::iter([Ok(first)]).chain(rest)))
}

async fn part(
    service: &Service,
    instance: Arc<Instance>,
    syntax: &str,
    frame: u32,
    form: FrameForm,
) -> Result<Part, Fault> {
    let decoded = || service.uncompressed(&instance, frame);
    let media = match form {
        FrameForm::Stored(media) => media,
        FrameForm::Uncompressed => return decoded().await.map(uncompressed),
        FrameForm::Any => match decoded().await {
            Err(fault) if fault.kind == FaultKind::NotAcceptable => media_type(syntax),
            other => return other.map(uncompressed),
        },
    };
    let stored = stored::frame(&instance, frame).map_err(|error| cannot(error.into()))?;
    Ok(Part {
        content_type: format!("{media}; transfer-syntax={syntax}"),
        location: None,
        content: pieces(stored),
    })
}

fn uncompressed(frame: Bytes) -> Part {
    let content_type = format!("{OCTETS}; transfer-syntax={}", uids::EXPLICIT_VR_LITTLE_ENDIAN);
    Part::whole(&content_type, frame)
}

/// The transfer syntax in which frames are kept in memory: native ones are little endian, however the file around them is written.
fn syntax_of(instance: &Instance) -> String {
    match instance.pixels {
        Some(PixelData::Encapsulated { .. }) => instance.transfer_syntax.clone(),
        _ => uids::EXPLICIT_VR_LITTLE_ENDIAN.to_owned(),
    }
}

/// Whether the instance has these frames: what can be told before the answer begins is no broken answer.
pub(super) fn check(instance: &Instance, list: &[u32]) -> Result<(), Fault> {
    list.iter()
        .try_for_each(|frame| stored::has_frame(instance, *frame))
        .map_err(|error| cannot(error.into()))
}

/// Reads `1,3`: numbers from 1, with commas between them.
pub(super) fn list(text: &str) -> Result<Vec<u32>, Fault> {
    let numbers: Option<Vec<u32>> = text
        .split(',')
        .map(|number| number.trim().parse().ok().filter(|number| *number > 0))
        .collect();
    numbers.ok_or_else(|| {
        let message = "frames must be numbers from 1 with commas between them, such as 1,3";
        Fault::new(FaultKind::Invalid, "frames", message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(range: &str, syntax: &str) -> Option<Wanted> {
        Wanted::of(&MediaType::parse(range).unwrap(), syntax, true)
    }

    #[test]
    fn frames_are_had_in_the_form_that_is_asked_for() {
        let (jpeg, native) = (uids::JPEG_LOSSLESS_SV1, uids::EXPLICIT_VR_LITTLE_ENDIAN);
        let several = |form| Some(Wanted { alone: false, form });
        let alone = |form| Some(Wanted { alone: true, form });
        for (range, syntax, want) in [
            ("*/*", jpeg, several(FrameForm::Any)),
            ("*/*", native, several(FrameForm::Uncompressed)),
            ("multipart/related", jpeg, several(FrameForm::Any)),
            (
                "multipart/related; type=application/octet-stream",
                jpeg,
                several(FrameForm::Uncompressed),
            ),
            (
                "multipart/related; type=application/octet-stream; transfer-syntax=*",
                jpeg,
                several(FrameForm::Stored(OCTETS)),
            ),
            (
                "multipart/related; type=\"image/jpeg\"",
                jpeg,
                several(FrameForm::Stored("image/jpeg")),
            ),
            (
                "multipart/related; type=\"image/jpeg\"; transfer-syntax=1.2.840.10008.1.2.4.70",
                jpeg,
                several(FrameForm::Stored("image/jpeg")),
            ),
            (
                "multipart/related; type=\"image/jpeg\"; transfer-syntax=1.2.840.10008.1.2.4.50",
                jpeg,
                None,
            ),
            ("multipart/related; type=\"image/jp2\"", jpeg, None),
            ("multipart/related; type=application/dicom", jpeg, None),
            ("application/octet-stream", native, alone(FrameForm::Uncompressed)),
            ("image/jpeg", jpeg, alone(FrameForm::Stored("image/jpeg"))),
            ("image/png", jpeg, None),
        ] {
            assert_eq!(wanted(range, syntax), want, "{range} of {syntax}");
        }
        let octets = MediaType::parse("application/octet-stream").unwrap();
        assert_eq!(
            Wanted::of(&octets, native, false),
            None,
            "two frames are two parts"
        );
    }

    #[test]
    fn a_list_has_numbers_from_one() {
        assert_eq!(list("1,3, 2").unwrap(), [1, 3, 2]);
        for wrong in ["", "0", "1,", "-1", "a", "1;2", "4294967296"] {
            assert_eq!(list(wrong).unwrap_err().code, "frames", "{wrong}");
        }
    }
}
