//! The answer to an inference request: JSON, and behind it the bytes of what was asked for in binary.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::outputs::Row;
use crate::inference::ServedModel;

/// The length of the JSON before binary data, in requests and in answers.
pub(super) const HEADER_LENGTH: &str = "inference-header-content-length";

/// A tensor of the answer: `[batch, ...]`.
#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) binary: bool,
    shape: Vec<usize>,
    values: Vec<f32>,
}

impl Column {
    /// The rows of the images, in their order.
    pub(super) fn of(name: String, binary: bool, rows: Vec<Row>) -> Self {
        let each = rows.first().map_or(&[][..], |row| &row.shape);
        let shape = std::iter::once(rows.len()).chain(each.iter().copied()).collect();
        let values = rows.into_iter().flat_map(|row| row.values).collect();
        Self {
            name,
            binary,
            shape,
            values,
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    model_name: &'a str,
    model_version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    parameters: Parameters<'a>,
    outputs: Vec<Output<'a>>,
}

/// Who answered, and on what terms.
#[derive(Serialize)]
struct Parameters<'a> {
    provider: &'a str,
    device: &'a str,
    digest: &'a str,
    notice: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    intended_use: Option<&'static str>,
}

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    datatype: &'static str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    parameters: Option<Binary>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a [f32]>,
}

#[derive(Serialize)]
struct Binary {
    binary_data_size: usize,
}

/// The answer of `model`; `intended_use` says what was checked, where the images had headers, and `device` what ran them.
pub(super) fn answer(
    model: &ServedModel,
    id: Option<&str>,
    intended_use: Option<&'static str>,
    device: &str,
    columns: &[Column],
) -> Response {
    let document = Document {
        model_name: &model.manifest.name,
        model_version: model.manifest.version.to_string(),
        id,
        parameters: Parameters {
            provider: model.provider(),
            device,
            digest: &model.digest,
            notice: &model.manifest.notice,
            intended_use,
        },
        outputs: columns
            .iter()
            .map(|column| Output {
                name: &column.name,
                datatype: "FP32",
                shape: &column.shape,
                parameters: column.binary.then_some(Binary {
                    binary_data_size: column.values.len() * size_of::<f32>(),
                }),
                data: (!column.binary).then_some(&column.values),
            })
            .collect(),
    };
    if !columns.iter().any(|column| column.binary) {
        return Json(document).into_response();
    }
    // a struct of strings and numbers has a JSON form
    let mut body = serde_json::to_vec(&document).unwrap_or_default();
    let headers = [
        (
            header::CONTENT_TYPE.as_str(),
            "application/octet-stream".to_owned(),
        ),
        (HEADER_LENGTH, body.len().to_string()),
    ];
    for column in columns.iter().filter(|column| column.binary) {
        body.extend(column.values.iter().flat_map(|value| value.to_le_bytes()));
    }
    (headers, body).into_response()
}
