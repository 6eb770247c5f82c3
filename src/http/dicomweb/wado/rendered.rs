//! Pictures (PS3.18 sections 10.4.1.1.3 and 10.4.1.1.4): rendered frames, and thumbnails.

use std::sync::Arc;

use axum::response::Response;
use dicom_dictionary_std::tags;
use futures_util::{StreamExt as _, stream};

use super::frames::{check, list};
use super::rendering::Wishes;
use super::{Loaded, Retrieval, cannot};
use crate::dicom::Instance;
use crate::dicom::json::{Attributes, key};
use crate::dicom::media_type::MediaType;
use crate::fault::{Fault, FaultKind};
use crate::http::dicomweb::accept::{of_parts, parts_take, takes};
use crate::http::dicomweb::parts::{self, Part};
use crate::http::dicomweb::service::{Service, warn};
use crate::http::error::HttpError;
use crate::image::rendering::{self, PictureFormat, Rendering, Viewport, render};
use crate::image::stored;
use crate::store::InstanceRow;

/// The formats that pictures are written in, the one that is taken first first.
const PICTURES: [&str; 2] = ["image/jpeg", "image/png"];
/// The room for a thumbnail where nobody says.
const THUMBNAIL: Viewport = Viewport {
    width: 128,
    height: 128,
    origin: [0, 0],
    size: [None, None],
};

pub(super) async fn retrieve(request: Retrieval) -> Result<Response, HttpError> {
    let wishes = Wishes::read(&request.parameters)?;
    let base = request.base.clone();
    let answer = if request.instance.is_some() {
        of_instance(request, &wishes).await
    } else {
        of_images(request, &wishes).await
    };
    Ok(warned(answer?, &base, &wishes))
}

pub(super) async fn thumbnail(request: Retrieval) -> Result<Response, HttpError> {
    let mut wishes = Wishes::read(&request.parameters)?;
    wishes.viewport.get_or_insert(THUMBNAIL);
    let alone = |range: &MediaType| Wanted::of(range, &wishes, true).filter(|wanted| wanted.alone);
    let wanted = request.accept.choose(OFFERED_ALONE, alone)?;
    let frame = match request.place.get("frames") {
        Some(frames) => list(frames)?[0],
        None => 1,
    };
    let row = images(&request, true).await?.remove(0);
    let Loaded { file, room } = request.service.load(&request.store, &row).await?;
    let instance = request.service.parse(file).await?;
    let picture = picture(&request.service, instance, frame, &wishes, wanted.format).await?;
    drop(room);
    Ok(warned(picture.alone(), &request.base, &wishes))
}

const OFFERED: &str = "image/jpeg or image/png for one frame, multipart/related with type=\"image/jpeg\" or \"image/png\" for several";
const OFFERED_ALONE: &str = "image/jpeg or image/png";

/// How pictures are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wanted {
    /// One picture as the whole body.
    alone: bool,
    essence: &'static str,
    format: PictureFormat,
}

impl Wanted {
    /// `one`: whether there is one picture.
    fn of(range: &MediaType, wishes: &Wishes, one: bool) -> Option<Self> {
        // a caller that takes anything gets one picture as it is
        let alone = one && (range.essence == "*/*" || of_parts(range).is_none());
        let covers = |essence: &&str| match of_parts(range) {
            _ if alone => takes(range, essence),
            Some(parts) => parts_take(parts, essence),
            None => false,
        };
        let essence = PICTURES.into_iter().find(covers)?;
        Some(Self {
            alone,
            essence,
            format: wishes.format(essence)?,
        })
    }
}

/// The frames of one instance that the path names, or all of them.
async fn of_instance(request: Retrieval, wishes: &Wishes) -> Result<Response, Fault> {
    let named = request
        .place
        .get("frames")
        .map(|frames| list(frames))
        .transpose()?;
    let row = request.one().await?;
    let Loaded { file, room } = request.service.load(&request.store, &row).await?;
    let instance = request.service.parse(file).await?;
    let (one, mut frames): (_, Box<dyn Iterator<Item = u32> + Send>) = if let Some(frames) = named {
        check(&instance, &frames)?;
        (frames.len() == 1, Box::new(frames.into_iter()))
    } else {
        let count = stored::frames(&instance).map_err(|error| cannot(error.into()))?;
        (count == 1, Box::new(1..=count))
    };
    let wanted = request
        .accept
        .choose(OFFERED, |range| Wanted::of(range, wishes, one))?;
    let (service, wishes) = (request.service, wishes.clone());
    let make = move |frame| {
        let (service, instance, wishes) = (Arc::clone(&service), Arc::clone(&instance), wishes.clone());
        async move { picture(&service, instance, frame, &wishes, wanted.format).await }
    };
    let first = make(frames.next().unwrap_or_default()).await?;
    if wanted.alone {
        return Ok(first.alone());
    }
    let rest = stream::iter(frames).then(make).map(move |part| {
        let _ = &room;
        part
    });
    Ok(parts::several(
        wanted.essence,
        stream::iter([Ok(first)]).chain(rest),
    ))
}

/// All frames of all images of a series or a study; what is no image, or cannot be shown, is left out.
async fn of_images(request: Retrieval, wishes: &Wishes) -> Result<Response, Fault> {
    let wanted = request
        .accept
        .choose(OFFERED, |range| Wanted::of(range, wishes, false))?;
    let rows = images(&request, false).await?;
    let (store, service, wishes) = (request.store, request.service, wishes.clone());
    let pictures = stream::iter(rows)
        .then({
            let service = Arc::clone(&service);
            move |row: InstanceRow| {
                let (store, service) = (store.clone(), Arc::clone(&service));
                async move {
                    let Loaded { file, room } = service.load(&store, &row).await?;
                    Ok::<_, Fault>((service.parse(file).await?, Arc::new(room)))
                }
            }
        })
        .flat_map(|loaded| {
            // one whose pixels do not hold what it declares is as good as one that cannot be shown
            let counted = loaded.and_then(|(instance, room)| match stored::frames(&instance) {
                Ok(frames) => Ok((frames.max(1), (instance, room))),
                Err(error) => Err(cannot(error.into())),
            });
            let (frames, loaded) = match counted {
                Ok((frames, loaded)) => (frames, Ok(loaded)),
                Err(fault) => (1, Err(fault)),
            };
            stream::iter(
                (1..=frames).map(move |frame| loaded.clone().map(|(instance, room)| (instance, room, frame))),
            )
        })
        .then(move |frame| {
            let (service, wishes) = (Arc::clone(&service), wishes.clone());
            async move {
                let (instance, _room, frame) = frame?;
                picture(&service, instance, frame, &wishes, wanted.format).await
            }
        })
        .filter(|picture| {
            let is_its_own =
                |fault: &Fault| fault.kind == FaultKind::NotAcceptable || fault.code == "frame-number";
            let left_out = picture.as_ref().err().is_some_and(is_its_own);
            std::future::ready(!left_out)
        });
    let mut pictures = Box::pin(pictures);
    let first = pictures.next().await.ok_or_else(no_image)??;
    Ok(parts::several(
        wanted.essence,
        stream::iter([Ok(first)]).chain(pictures),
    ))
}

/// The instances that the path names that have pixels; only the first, if `first`.
async fn images(request: &Retrieval, first: bool) -> Result<Vec<InstanceRow>, Fault> {
    let mut images = Vec::new();
    for row in request.kept().await?.0 {
        let header = request.store.header(&row.instance.uid).await?;
        let attributes: Option<Attributes> =
            header.and_then(|header| serde_json::from_str(&header.json).ok());
        // one that is not described yet may have some
        let is_image = attributes.is_none_or(|attributes| attributes.contains_key(&key(tags::PIXEL_DATA)));
        if is_image {
            images.push(row);
            if first {
                break;
            }
        }
    }
    if images.is_empty() {
        Err(no_image())
    } else {
        Ok(images)
    }
}

fn no_image() -> Fault {
    let message = "there is no image here that can be shown: GET .../metadata says what there is";
    Fault::new(FaultKind::NotAcceptable, "no-pixel-data", message)
}

async fn picture(
    service: &Service,
    instance: Arc<Instance>,
    frame: u32,
    wishes: &Wishes,
    format: PictureFormat,
) -> Result<Part, Fault> {
    let rendering = Rendering {
        window: wishes.window.clone(),
        viewport: wishes.viewport,
        format,
    };
    let memory = rendering::memory(&instance);
    let bytes = service
        .decode(memory, move || render(&instance, frame, &rendering))
        .await;
    let essence = match format {
        PictureFormat::Jpeg { .. } => PICTURES[0],
        PictureFormat::Png => PICTURES[1],
    };
    match bytes {
        Ok(bytes) => Ok(Part::whole(essence, bytes)),
        // a region outside of the image is the request's fault, and not the image's
        Err(fault) if fault.code == "viewport" => Err(fault),
        Err(fault) => Err(cannot(fault)),
    }
}

/// Says which parameters were not heeded.
fn warned(mut response: Response, base: &str, wishes: &Wishes) -> Response {
    if !wishes.ignored.is_empty() {
        let ignored = wishes.ignored.join(", ");
        let text = format!("The following parameters are not supported and were ignored: {ignored}");
        warn(&mut response, base, &text);
    }
    response
}
