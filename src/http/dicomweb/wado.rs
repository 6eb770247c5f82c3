//! WADO-RS (PS3.18 sections 10.4.1.1 to 10.4.1.1.6): instances, metadata, frames, bulk data and pictures of what is stored.
//!
//! Invariants: one object at a time is in memory for an answer, and of what is decoded one frame, each only where there is room for it; what is stored goes out byte for
//! byte unless another transfer syntax was asked for; what the retention policy has removed is 410, with its metadata still there.

mod bulk_data;
mod frames;
mod instances;
mod metadata;
mod rendered;
mod rendering;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, FromRef, FromRequestParts, Path, Query as Parameters};
use axum::http::request::Parts;
use axum::routing::get;
use bytes::Bytes;
use dicom_dictionary_std::uids;

use super::accept::Accept;
use super::qido::wanted;
use super::service::{Service, Shared};
use crate::dicom::{
    BIG_ENDIAN, Instance, InstanceUid, InvalidUid, PixelData, SeriesUid, StudyUid, inflated_memory,
};
use crate::fault::{Fault, FaultKind};
use crate::http::error::HttpError;
use crate::image::{decode, raw};
use crate::inference::Priority;
use crate::intake::Room;
use crate::store::{InstanceRow, Store};

/// The routes of this service.
pub(super) fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
    Store: FromRef<S>,
{
    let study = "/dicom-web/studies/{study}";
    let series = "/dicom-web/studies/{study}/series/{series}";
    let instance = "/dicom-web/studies/{study}/series/{series}/instances/{instance}";
    let mut routes = Router::new()
        .route(
            &format!("{instance}/bulkdata/{{*path}}"),
            get(bulk_data::retrieve),
        )
        .route(&format!("{instance}/frames/{{frames}}"), get(frames::retrieve))
        .route(
            &format!("{instance}/frames/{{frames}}/rendered"),
            get(rendered::retrieve),
        )
        .route(
            &format!("{instance}/frames/{{frames}}/thumbnail"),
            get(rendered::thumbnail),
        );
    for place in [study, series, instance] {
        routes = routes
            .route(place, get(instances::retrieve))
            .route(&format!("{place}/metadata"), get(metadata::retrieve))
            .route(&format!("{place}/rendered"), get(rendered::retrieve))
            .route(&format!("{place}/thumbnail"), get(rendered::thumbnail));
    }
    routes
}

/// A request for something that is stored.
pub(super) struct Retrieval {
    store: Store,
    service: Arc<Service>,
    study: StudyUid,
    series: Option<SeriesUid>,
    instance: Option<InstanceUid>,
    /// What else the path says: `frames`, `path`.
    place: HashMap<String, String>,
    parameters: Vec<(String, String)>,
    accept: Accept,
    /// The URL of the service.
    base: String,
}

impl<S> FromRequestParts<S> for Retrieval
where
    S: Send + Sync,
    Store: FromRef<S>,
{
    type Rejection = HttpError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, HttpError> {
        let malformed =
            |what: &str| Fault::new(FaultKind::Invalid, "path", format!("the {what} cannot be read"));
        let Extension(service) = Shared::from_request_parts(parts, state)
            .await
            .map_err(|_| malformed("address"))?;
        let Path(place) = Path::<HashMap<String, String>>::from_request_parts(parts, state)
            .await
            .map_err(|_| malformed("address"))?;
        let Parameters(parameters) = Parameters::<Vec<(String, String)>>::from_request_parts(parts, state)
            .await
            .map_err(|_| malformed("query"))?;
        let invalid = |error: InvalidUid| Fault::new(FaultKind::Invalid, "uid", error.to_string());
        let named = |name: &str| place.get(name).map(String::as_str);
        Ok(Self {
            store: Store::from_ref(state),
            study: StudyUid::parse(named("study").unwrap_or_default()).map_err(invalid)?,
            series: named("series")
                .map(SeriesUid::parse)
                .transpose()
                .map_err(invalid)?,
            instance: named("instance")
                .map(InstanceUid::parse)
                .transpose()
                .map_err(invalid)?,
            accept: Accept::of(&parts.headers, wanted(&parameters))?,
            base: service.base(&parts.headers),
            service,
            place,
            parameters,
        })
    }
}

/// A stored file on its way out, with the room that it takes.
struct Loaded {
    file: Bytes,
    room: Room,
}

impl Retrieval {
    /// The instances that the path names, whether or not their images are still here.
    ///
    /// # Errors
    /// `not-found` where there is none.
    async fn rows(&self) -> Result<Vec<InstanceRow>, Fault> {
        let rows = self
            .store
            .stored(&self.study, self.series.as_ref(), self.instance.as_ref())
            .await?;
        if rows.is_empty() {
            let what = match (&self.series, &self.instance) {
                (None, _) => "study",
                (_, None) => "series of this study",
                _ => "instance of this series",
            };
            return Err(not_found(what));
        }
        Ok(rows)
    }

    /// The instances that the path names and whose images are here, and how many others there are.
    ///
    /// # Errors
    /// `not-found`, or `image-removed` where the retention policy has removed all of them.
    async fn kept(&self) -> Result<(Vec<InstanceRow>, usize), Fault> {
        let mut rows = self.rows().await?;
        let all = rows.len();
        rows.retain(|row| row.removed_at.is_none());
        if rows.is_empty() {
            let message = "the images were removed by the retention policy: their metadata is still here; send them again to have \
                           them back";
            return Err(Fault::new(FaultKind::Gone, "image-removed", message));
        }
        let left_out = all - rows.len();
        Ok((rows, left_out))
    }

    /// The one instance that the path names.
    async fn one(&self) -> Result<InstanceRow, Fault> {
        let (mut rows, _) = self.kept().await?;
        rows.pop().ok_or_else(|| not_found("instance"))
    }
}

impl Service {
    /// Reads the file of an instance when there is room for it.
    async fn load(&self, store: &Store, row: &InstanceRow) -> Result<Loaded, Fault> {
        let size = usize::try_from(row.instance.bytes).unwrap_or(usize::MAX);
        let room = self.outgoing.whole(size, Priority::Routine).await?;
        let file = store.object(&row.instance.object).await?;
        Ok(Loaded { file, room })
    }

    /// Understands a file. Pixels that are not those of the file, but inflated or turned round, hold room of their own. Until they do they are
    /// counted as being decoded; and whoever waits for that room holds nothing else, for who has some may wait for memory to decode in.
    async fn parse(&self, file: Bytes) -> Result<Arc<Instance>, Fault> {
        let bytes = inflated_memory(&file);
        let mut room = None;
        loop {
            let again = file.clone();
            let parsed = self.decode_counted(bytes, move || Instance::parse(again)).await;
            let (mut instance, taken) = parsed.map_err(cannot)?;
            let is_made = [uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, BIG_ENDIAN]
                .contains(&instance.transfer_syntax.as_str());
            let pixels = match &mut instance.pixels {
                Some(PixelData::Native(pixels)) if is_made => pixels,
                _ => return Ok(Arc::new(instance)),
            };
            let size = pixels.len();
            let at_once = self.decoded.within(Some(Duration::ZERO));
            let free = match room.take() {
                Some(room) => Ok(room),
                None => at_once.whole(size, Priority::Routine).await,
            };
            if let Ok(room) = free {
                *pixels = room.hold(std::mem::take(pixels));
                return Ok(Arc::new(instance));
            }
            drop((instance, taken));
            room = Some(self.decoded.whole(size, Priority::Routine).await?);
        }
    }

    /// A frame (from 1) in Explicit VR Little Endian, decoded when there is room for it.
    async fn uncompressed(&self, instance: &Arc<Instance>, frame: u32) -> Result<Bytes, Fault> {
        let instance = Arc::clone(instance);
        let is_native = matches!(instance.pixels, Some(PixelData::Native(_)));
        let size = raw::frame_size(&instance).map_err(|error| cannot(error.into()))?;
        let room = self
            .decoded
            .whole(if is_native { 0 } else { size }, Priority::Routine);
        let room = room.await?;
        let bytes = decode::memory(&instance, 0);
        let frame = self
            .decode(bytes, move || raw::uncompressed(&instance, frame))
            .await;
        frame.map(|frame| room.hold(frame)).map_err(cannot)
    }
}

fn not_found(what: &str) -> Fault {
    let message = format!("there is no such {what}: GET /dicom-web/studies shows what is here");
    Fault::new(FaultKind::NotFound, "not-found", message)
}

/// What stands in the way of a form: the caller may take another one.
fn cannot(fault: Fault) -> Fault {
    let kind = match (fault.kind, fault.code) {
        (_, "frame-number") => FaultKind::NotFound,
        (FaultKind::Invalid | FaultKind::Refused | FaultKind::Unsupported, _) => FaultKind::NotAcceptable,
        (other, _) => other,
    };
    Fault { kind, ..fault }
}
