//! What an archive answers, as far as it may reach.

use reqwest::Response;
use serde_json::Value;

use super::PeerError;

/// The DICOM JSON model (PS3.18 annex F).
pub(super) const DICOM_JSON: &str = "application/dicom+json";

/// An answer that is no success, with what it asks for.
pub(super) fn refusal(response: &Response) -> PeerError {
    PeerError::status(response.status()).after(response.headers())
}

/// The data sets of an answer in DICOM JSON of at most `most` bytes.
pub(super) async fn data_sets(response: Response, most: usize) -> Result<Vec<Value>, PeerError> {
    let body = body(response, most).await?;
    serde_json::from_slice(&body).map_err(|_| {
        let message = "the archive's answer to a search is not a list in DICOM JSON";
        PeerError::passing("bad-answer", message)
    })
}

/// An answer of at most `most` bytes.
pub(super) async fn body(mut response: Response, most: usize) -> Result<Vec<u8>, PeerError> {
    let mut body = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| PeerError::from(&error))? {
        body.extend_from_slice(&piece);
        if body.len() > most {
            return Err(PeerError::passing(
                "bad-answer",
                "the archive's answer is too long",
            ));
        }
    }
    Ok(body)
}
