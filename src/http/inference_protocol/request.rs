//! An inference request: JSON, and behind it the bytes of a binary tensor. Nothing here waits, and nothing here panics, whatever
//! the bytes are.

use std::time::Duration;

use axum::body::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::bounded::Bounded;
use super::error::invalid;
use super::outputs::DICOM;
use super::tensors::{Batch, Numbers, files, strings};
use super::values;
use crate::fault::Fault;
use crate::image::Tensor;
use crate::inference::Priority;

/// What the model that is asked takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected<'a> {
    /// Name of its input.
    pub(super) tensor: &'a str,
    /// Sizes of one image.
    pub(super) shape: [usize; 3],
}

/// A request that can be understood.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) id: Option<String>,
    pub(super) priority: Priority,
    pub(super) timeout: Option<Duration>,
    /// Which gate is to be set aside.
    pub(super) overridden: Option<String>,
    pub(super) input: Input,
    /// What is asked for; nothing named is everything that is answered by default.
    pub(super) outputs: Vec<Asked>,
    /// Whether what was not asked for by name comes as bytes.
    pub(super) binary: bool,
}

/// 1 to [`super::MOST_IMAGES`] images.
#[derive(Debug)]
pub(super) enum Input {
    /// Prepared by the caller.
    Tensors(Vec<Tensor>),
    /// Files.
    Dicom(Vec<Bytes>),
}

/// An output that is asked for by name.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    /// Whether it comes as bytes.
    pub(super) binary: bool,
}

#[derive(Deserialize)]
struct Document<'a> {
    id: Option<String>,
    parameters: Option<Parameters>,
    #[serde(borrow)]
    inputs: Bounded<InputDocument<'a>, 8>,
    outputs: Option<Bounded<OutputDocument, 64>>,
}

#[derive(Default, Deserialize)]
struct Parameters {
    priority: Option<u64>,
    /// Microseconds.
    timeout: Option<u64>,
    binary_data_output: Option<bool>,
    #[serde(rename = "override")]
    overridden: Option<String>,
}

#[derive(Deserialize)]
struct InputDocument<'a> {
    name: String,
    datatype: String,
    shape: Bounded<i64, 8>,
    parameters: Option<InputParameters>,
    /// Not read before it is known how much of it there has to be.
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct InputParameters {
    binary_data_size: Option<u64>,
    shared_memory_region: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct OutputDocument {
    name: String,
    parameters: Option<OutputParameters>,
}

#[derive(Default, Deserialize)]
struct OutputParameters {
    binary_data: Option<bool>,
    classification: Option<IgnoredAny>,
    shared_memory_region: Option<IgnoredAny>,
}

impl Request {
    /// Understands a body whose first `json` bytes are JSON; all of it where that was not said.
    ///
    /// # Errors
    /// What is wrong with it, without a word of what it says.
    pub(super) fn parse(expected: Expected<'_>, body: &Bytes, json: Option<usize>) -> Result<Self, Fault> {
        let length = json.unwrap_or(body.len());
        let document = body.get(..length).ok_or_else(|| {
            invalid(
                "header-length",
                format!(
                    "Inference-Header-Content-Length is {length}, and the body has {} bytes: it is the length of the JSON before the binary data",
                    body.len()
                ),
            )
        })?;
        let document: Document<'_> =
            serde_json::from_slice(document).map_err(|error| not_understood(&error))?;
        let behind = json.map(|length| body.slice(length..));
        let parameters = document.parameters.unwrap_or_default();
        let binary = parameters.binary_data_output.unwrap_or(false);
        Ok(Self {
            id: document.id,
            // of the levels that other servers have, the first is the highest, and 0 is what they do by themselves
            priority: match parameters.priority {
                Some(1) => Priority::Stat,
                _ => Priority::Routine,
            },
            timeout: parameters
                .timeout
                .filter(|microseconds| *microseconds > 0)
                .map(Duration::from_micros),
            overridden: parameters.overridden,
            input: input(expected, document.inputs.0, behind, body)?,
            outputs: outputs(document.outputs.unwrap_or_default().0, binary)?,
            binary,
        })
    }
}

fn outputs(named: Vec<OutputDocument>, binary: bool) -> Result<Vec<Asked>, Fault> {
    let mut outputs: Vec<Asked> = Vec::with_capacity(named.len());
    for output in named {
        let asked = asked(output, binary)?;
        // a small request could ask for any amount of the same otherwise
        if outputs.iter().any(|other| other.name == asked.name) {
            return Err(invalid("output", "an output is named twice: once is enough"));
        }
        outputs.push(asked);
    }
    Ok(outputs)
}

fn asked(output: OutputDocument, binary: bool) -> Result<Asked, Fault> {
    let parameters = output.parameters.unwrap_or_default();
    if parameters.shared_memory_region.is_some() {
        return Err(no_shared_memory());
    }
    if parameters.classification.is_some() {
        let message =
            "the classification extension is not served: leave the parameter out, and the values come";
        return Err(invalid("classification", message));
    }
    Ok(Asked {
        name: output.name,
        binary: parameters.binary_data.unwrap_or(binary),
    })
}

fn input(
    expected: Expected<'_>,
    inputs: Vec<InputDocument<'_>>,
    behind: Option<Bytes>,
    body: &Bytes,
) -> Result<Input, Fault> {
    let tensor = expected.tensor;
    let one = || {
        invalid(
            "input",
            format!(
                "a request has one input: {tensor} with the network's numbers, or {DICOM} with DICOM files as BYTES"
            ),
        )
    };
    let Ok([input]) = <[InputDocument<'_>; 1]>::try_from(inputs) else {
        return Err(one());
    };
    let shape = &input.shape.0;
    let data = data(input.data, &input.parameters.unwrap_or_default(), behind)?;
    if input.datatype == "BYTES" && input.name == DICOM {
        let files = files(shape)?;
        return Ok(Input::Dicom(match data {
            Data::Bytes(bytes) => strings(bytes, files)?,
            Data::Json(data) => values::files(data, files, body)?,
        }));
    }
    if input.name != tensor {
        return Err(one());
    }
    let batch = Batch::of(shape, expected.shape, Numbers::of(&input.datatype)?)?;
    Ok(Input::Tensors(match data {
        Data::Bytes(bytes) => batch.of_bytes(&bytes)?,
        Data::Json(data) => batch.of_json(data)?,
    }))
}

/// What an input holds.
enum Data<'a> {
    Bytes(Bytes),
    Json(&'a RawValue),
}

fn data<'a>(
    json: Option<&'a RawValue>,
    parameters: &InputParameters,
    behind: Option<Bytes>,
) -> Result<Data<'a>, Fault> {
    if parameters.shared_memory_region.is_some() {
        return Err(no_shared_memory());
    }
    let unclaimed = behind.as_ref().map_or(0, Bytes::len);
    match (json, parameters.binary_data_size, behind) {
        (Some(json), None, _) if unclaimed == 0 => Ok(Data::Json(json)),
        (None, Some(size), Some(behind)) if size == behind.len() as u64 => Ok(Data::Bytes(behind)),
        (None, Some(_), None) => Err(invalid(
            "header-length",
            "binary data needs the header Inference-Header-Content-Length: the length of the JSON before it",
        )),
        (None, Some(size), Some(_)) => Err(invalid(
            "size",
            format!("binary_data_size is {size}, and {unclaimed} bytes follow the JSON"),
        )),
        (None, None, _) => Err(invalid(
            "input",
            "the input has neither data nor binary_data_size",
        )),
        (Some(_), Some(_), _) => Err(invalid("input", "the input has both data and binary_data_size")),
        (Some(_), None, _) => Err(invalid(
            "size",
            format!("{unclaimed} bytes follow the JSON, and no input says that they are its own"),
        )),
    }
}

fn no_shared_memory() -> Fault {
    let message = "shared memory is not served: send the data in the body, as JSON or as binary data";
    invalid("shared-memory", message)
}

/// Where the JSON is wrong; what stands there is not repeated.
fn not_understood(error: &serde_json::Error) -> Fault {
    let place = format!("line {}, column {}", error.line(), error.column());
    if error.is_data() {
        return invalid(
            "request",
            format!(
                "{place} is not what the protocol has there: each input has a name, a datatype, a shape, and data or binary_data_size"
            ),
        );
    }
    invalid("json", format!("the JSON is damaged or ends early at {place}"))
}
