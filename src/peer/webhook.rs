//! Results for a webhook: one POST, which its receiver can tell from another of the same result.

use reqwest::header::CONTENT_TYPE;

use super::http::Http;
use super::{Delivered, Destination, Parcel, PeerError};

/// Posts the body of `parcel`; every success status counts. The key goes along as `Idempotency-Key`, for the answer to an earlier
/// attempt may have been lost.
pub(super) async fn deliver(destination: &Destination, parcel: &Parcel) -> Result<Delivered, PeerError> {
    let http = Http::to(destination).await?;
    let response = http
        .post(&destination.url)
        .header(CONTENT_TYPE, destination.format.unwrap_or_default().media_type())
        .header("Idempotency-Key", &parcel.key)
        .body(parcel.body.clone())
        .send()
        .await
        .map_err(|error| PeerError::from(&error))?;
    if response.status().is_success() {
        return Ok(Delivered {
            sent: 1,
            already_there: 0,
        });
    }
    Err(PeerError::status(response.status()).after(response.headers()))
}
