//! What a request brings (PS3.18 section 11.1.3): one data set, in DICOM JSON or as XML.

use axum::body::Body;
use axum::http::header;
use bytes::Bytes;

use super::Request;
use crate::dicom::media_type::MediaType;
use crate::dicom::multipart::{MultipartReader, Step};
use crate::fault::{Fault, FaultKind};
use crate::http::body;
use crate::inference::Priority;
use crate::workitem::Attributes;

/// The most bytes of a workitem.
pub(super) const LARGEST: usize = 1 << 20;

/// How a body is written.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Encoding {
    Json,
    Xml,
    /// As XML in the one part of a body with this boundary.
    Part(String),
}

impl Encoding {
    fn of(content_type: Option<&str>) -> Result<Self, Fault> {
        let unsupported = || {
            let message = "a workitem is sent as application/dicom+json, application/dicom+xml, or multipart/related; \
                           type=\"application/dicom+xml\" with one part";
            Fault::new(FaultKind::Unsupported, "media-type", message)
        };
        let Some(content_type) = content_type else {
            return Ok(Self::Json);
        };
        let media = MediaType::parse(content_type).ok_or_else(unsupported)?;
        match media.essence.as_str() {
            // no type that a web page may send without asking
            "application/dicom+json" | "application/json" => Ok(Self::Json),
            "application/dicom+xml" | "application/xml" | "text/xml" => Ok(Self::Xml),
            "multipart/related"
                if media
                    .parameter("type")
                    .is_none_or(|kind| kind == "application/dicom+xml") =>
            {
                let boundary = media.parameter("boundary").ok_or_else(unsupported)?;
                Ok(Self::Part(boundary.to_owned()))
            }
            _ => Err(unsupported()),
        }
    }

    fn read(&self, bytes: &Bytes) -> Result<Attributes, Fault> {
        match self {
            Self::Json => Attributes::read(bytes),
            Self::Xml => Attributes::read_xml(bytes),
            Self::Part(boundary) => Attributes::read_xml(&only_part(boundary, bytes)?),
        }
    }
}

impl Request {
    /// Reads the body.
    pub(super) async fn body(&self, body: Body) -> Result<Attributes, Fault> {
        let (encoding, bytes) = self.bytes(body).await?;
        encoding.read(&bytes)
    }

    /// The same where the standard lets the body be empty.
    pub(super) async fn optional_body(&self, body: Body) -> Result<Attributes, Fault> {
        let (encoding, bytes) = self.bytes(body).await?;
        if bytes.is_empty() {
            return Ok(Attributes::default());
        }
        encoding.read(&bytes)
    }

    async fn bytes(&self, body: Body) -> Result<(Encoding, Bytes), Fault> {
        let content_type = self.headers.get(header::CONTENT_TYPE);
        let encoding = Encoding::of(content_type.and_then(|value| value.to_str().ok()))?;
        let intake = &self.worklist.settings.intake;
        let bytes = body::read(&self.headers, body, LARGEST, intake, Priority::Routine).await?;
        Ok((encoding, bytes))
    }
}

fn only_part(boundary: &str, bytes: &[u8]) -> Result<Bytes, Fault> {
    let malformed = |message: String| Fault::new(FaultKind::Invalid, "multipart", message);
    let mut reader = MultipartReader::new(boundary, LARGEST).map_err(|error| malformed(error.to_string()))?;
    reader.push(bytes);
    let mut step = || reader.step().map_err(|error| malformed(error.to_string()));
    match (step()?, step()?) {
        (Step::Part(part), Step::End) => Ok(part),
        (Step::Part(_), Step::Part(_)) => {
            Err(malformed("a request has one workitem, in one part".to_owned()))
        }
        _ => Err(malformed("the body ends before its closing boundary".to_owned())),
    }
}
