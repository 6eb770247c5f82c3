//! Peers: archives and webhooks to which finished results are delivered, and archives from which studies are fetched; named in the
//! configuration and nowhere else.
//!
//! Invariants: no connection is made to an address that the configuration does not hold, whatever a peer answers; what counts as delivered to an archive was
//! found there afterwards, if it can be asked; an attempt whose outcome is unknown can be made again, for the archive is asked first and objects keep
//! their UIDs; no error shows an address, a secret or what a peer said.

mod answer;
mod destination;
mod dimse;
mod error;
mod http;
mod reading;
mod stow;
mod wado;
mod webhook;

use bytes::Bytes;

use crate::dicom::{InstanceUid, SeriesUid, StudyUid};
pub use destination::{Destination, Destinations, Format, Kind, Object, Use};
pub use error::PeerError;
pub use wado::{Listed, Source};

/// A finished result, as it is sent.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Identifies the result: the same one has the same key, whenever and however often it is sent.
    pub key: String,
    /// The study that it is about.
    pub study: StudyUid,
    /// The result for webhooks, in the destination's format.
    pub body: Bytes,
    /// The result for archives.
    pub objects: Vec<ParcelObject>,
}

/// One DICOM object of a parcel.
#[derive(Clone, Debug)]
pub struct ParcelObject {
    /// SOP Class UID.
    pub class: String,
    /// Series Instance UID.
    pub series: SeriesUid,
    /// SOP Instance UID.
    pub uid: InstanceUid,
    /// The whole file.
    pub file: Bytes,
}

/// What became of a parcel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Objects that were sent in this attempt; a webhook takes one.
    pub sent: usize,
    /// Objects that the archive held already, from an earlier attempt.
    pub already_there: usize,
}

/// Delivers `parcel`. It may be called again after any error, and after an attempt that was cut off.
///
/// # Errors
/// [`PeerError`], which says whether another attempt may succeed.
pub async fn deliver(destination: &Destination, parcel: &Parcel) -> Result<Delivered, PeerError> {
    match destination.kind {
        Kind::Stow => stow::deliver(destination, parcel).await,
        Kind::Dimse => match destination.node() {
            Some(node) => dimse::deliver(&node, destination.timeout(), parcel).await,
            None => Err(PeerError::lasting("unreachable", "the destination names no host")),
        },
        Kind::Webhook => webhook::deliver(destination, parcel).await,
    }
}

#[cfg(test)]
mod dimse_tests;
#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;
