//! Metadata (PS3.18 section 10.4.1.1.2): the headers of a study, a series or an instance, with bulk data named by where it can be had.

use std::sync::Arc;

use axum::response::Response;
use futures_util::{StreamExt as _, stream};

use super::{Loaded, Retrieval};
use crate::dicom::json::{Attributes, make_absolute, of_instance};
use crate::dicom::record::Record;
use crate::fault::{Fault, FaultKind};
use crate::http::dicomweb::form::Form;
use crate::http::dicomweb::service::Service;
use crate::http::error::HttpError;
use crate::store::{InstanceRow, Store};

pub(super) async fn retrieve(request: Retrieval) -> Result<Response, HttpError> {
    let form = Form::wanted(&request.accept)?;
    let rows = request.rows().await?;
    let Retrieval {
        store, service, base, ..
    } = request;
    let headers = stream::iter(rows).then(move |row| {
        let (store, service, base) = (store.clone(), Arc::clone(&service), base.clone());
        async move {
            let mut header = header(&store, &service, &row).await?;
            let instance = &row.instance;
            let place = format!(
                "{base}/studies/{}/series/{}/instances/{}/bulkdata",
                instance.study, instance.series, instance.uid
            );
            make_absolute(&mut header, &place);
            Ok(header)
        }
    });
    Ok(form.answer(headers))
}

/// The header that is kept, or, where it is not all of it, the object's.
async fn header(store: &Store, service: &Service, row: &InstanceRow) -> Result<Attributes, Fault> {
    let instance = &row.instance;
    let kept = store.header(&instance.uid).await?;
    match kept {
        Some(kept) if kept.whole || row.removed_at.is_some() => read(&kept.json),
        None if row.removed_at.is_some() => {
            let identity = Record::of_identity(
                instance.study.as_str(),
                instance.series.as_str(),
                instance.uid.as_str(),
                &instance.class,
            );
            read(&identity.instance.header)
        }
        _ => {
            let Loaded { file, room } = service.load(store, row).await?;
            let parsed = service.parse(file).await?;
            let header = service
                .decode(0, move || Ok::<_, Fault>(of_instance(&parsed)))
                .await;
            drop(room);
            header
        }
    }
}

fn read(json: &str) -> Result<Attributes, Fault> {
    serde_json::from_str(json).map_err(|_| {
        let message = "what is kept of an instance cannot be read: it may belong to another version";
        Fault::new(FaultKind::Internal, "database", message)
    })
}
