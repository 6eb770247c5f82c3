//! Data sets as answers: DICOM JSON, which is the default, or the Native DICOM Model in XML.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use super::accept::{Accept, of_parts, parts_take, takes};
use super::parts::{self, Part, body};
use crate::dicom::json::Attributes;
use crate::dicom::xml;
use crate::fault::{Fault, FaultKind};

const JSON: &str = "application/dicom+json";
const XML: &str = "application/dicom+xml";

/// How data sets are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One array of all data sets.
    Json,
    /// One part for each data set.
    Xml,
}

impl Form {
    /// What the caller wants.
    ///
    /// # Errors
    /// `not-acceptable` for anything else.
    pub(super) fn wanted(accept: &Accept) -> Result<Self, Fault> {
        let offered = "application/dicom+json, or multipart/related; type=\"application/dicom+xml\"";
        accept.choose(offered, |range| {
            if takes(range, JSON) || range.essence == "application/json" {
                return Some(Self::Json);
            }
            let parts = of_parts(range).is_some_and(|parts| parts_take(parts, XML));
            parts.then_some(Self::Xml)
        })
    }

    /// The answer with these data sets.
    pub(super) fn answer(
        self,
        data_sets: impl Stream<Item = Result<Attributes, Fault>> + Send + 'static,
    ) -> Response {
        match self {
            Self::Json => {
                let items = data_sets.enumerate().map(|(index, item)| {
                    let mut text = if index == 0 { vec![] } else { vec![b','] };
                    serde_json::to_writer(&mut text, &item?).map_err(|_| unwritable())?;
                    Ok(Bytes::from(text))
                });
                let array = parts::pieces([Bytes::from_static(b"[")]).chain(items);
                let end = parts::pieces([Bytes::from_static(b"]")]);
                ([(header::CONTENT_TYPE, JSON)], body(array.chain(end))).into_response()
            }
            Self::Xml => {
                let parts = data_sets.map(|item| Ok(Part::whole(XML, xml::document(&item?))));
                parts::several(XML, parts)
            }
        }
    }

    /// The answer with data sets that are there already, of which there may be none.
    pub(super) fn all(
        self,
        data_sets: impl ExactSizeIterator<Item = Attributes> + Send + 'static,
    ) -> Response {
        if self == Self::Xml && data_sets.len() == 0 {
            // a body of parts has at least one
            return StatusCode::NO_CONTENT.into_response();
        }
        self.answer(stream::iter(data_sets.map(Ok)))
    }
}

fn unwritable() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "json",
        "an attribute could not be written as JSON",
    )
}
