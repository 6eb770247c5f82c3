//! `POST /v2/models/{model}/infer`: a batch in, its tensors out.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::Response;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::At;
use super::answer::{Column, HEADER_LENGTH, answer};
use super::error::{ProtocolError, invalid};
use super::outputs::{self, Output, Row, Source, of_findings, of_tensor};
use super::request::{Asked, Expected, Input, Request};
use crate::fault::{Fault, FaultKind};
use crate::finding::{InstanceResult, IntendedUseCheck};
use crate::http::caller::Caller;
use crate::http::score::overrides;
use crate::http::{App, body};
use crate::inference::{
    Call, ImageBytes, Inference, Inferred, Priority, ScoreRequest, ServedModel, TensorRequest, was_full,
};

/// A body up to this size is read on the spot: it takes less time than handing it to another thread would be worth.
const ON_THE_SPOT: usize = 1 << 20;
/// The same for JSON, which takes longer.
const JSON_ON_THE_SPOT: usize = 32 << 10;

/// How long an image of several waits before it asks for memory again.
const AGAIN: Duration = Duration::from_millis(100);

/// `POST .../infer`.
pub(super) async fn infer(
    State(app): State<App>,
    At(address): At,
    caller: Caller,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ProtocolError> {
    // first of all: whoever is refused while still sending does not hear why; how urgent it is stands in the body
    let began = Instant::now();
    let intake = app.intake.of(&caller.0);
    let body = body::read(&headers, body, app.limits.body_bytes, &intake, Priority::Routine).await?;
    let json = header_length(&headers)?;
    let model = address.find(&app)?;
    let mut request = parse(&model, body, json).await?;
    let asked = asked(&model, &mut request)?;
    let id = request.id.take();
    let call = Call {
        priority: request.priority,
        client: caller.0,
        deadline: request.timeout.map(|all| all.saturating_sub(began.elapsed())),
    };
    let (intended_use, device, columns) = match request.input {
        Input::Tensors(tensors) => {
            let of = |tensor| TensorRequest {
                model: Arc::clone(&model),
                tensor,
                call: call.clone(),
            };
            let requests = tensors.into_iter().map(of).collect();
            let (device, columns) = of_tensors(&app.inference, requests, asked).await?;
            (None, device, columns)
        }
        Input::Dicom(files) => {
            let overrides = overrides(request.overridden.as_deref())?;
            let of = |file| ScoreRequest {
                model: Arc::clone(&model),
                image: ImageBytes::Dicom(file),
                overrides: overrides.clone(),
                call: call.clone(),
            };
            let requests = files.into_iter().map(of).collect();
            let (check, device, columns) = of_files(&app.inference, &model, requests, asked).await?;
            (Some(check), device, columns)
        }
    };
    Ok(answer(&model, id.as_deref(), intended_use, &device, &columns))
}

/// How much of the body is JSON, where the client says so.
fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Fault> {
    if headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|encoding| encoding != "identity")
    {
        let message = "compressed bodies are not read: send the body as it is";
        return Err(Fault::new(FaultKind::Unsupported, "content-encoding", message));
    }
    let Some(length) = headers.get(HEADER_LENGTH) else {
        return Ok(None);
    };
    let length = length.to_str().ok().and_then(|length| length.trim().parse().ok());
    length.map(Some).ok_or_else(|| {
        let message = "Inference-Header-Content-Length must be the length of the JSON in bytes";
        invalid("header-length", message)
    })
}

/// Understands the request; away from the threads that answer, where that takes longer.
async fn parse(model: &Arc<ServedModel>, body: Bytes, json: Option<usize>) -> Result<Request, Fault> {
    fn of(model: &ServedModel, body: &Bytes, json: Option<usize>) -> Result<Request, Fault> {
        let contract = &model.manifest.preprocessing;
        let expected = Expected {
            tensor: &contract.tensor,
            shape: contract.input_shape(),
        };
        Request::parse(expected, body, json)
    }
    if body.len() <= ON_THE_SPOT && json.unwrap_or(body.len()) <= JSON_ON_THE_SPOT {
        return of(model, &body, json);
    }
    let model = Arc::clone(model);
    tokio::task::spawn_blocking(move || of(&model, &body, json))
        .await
        .unwrap_or_else(|_| Err(broken()))
}

/// The outputs that the answer has, in the order of the request.
fn asked(model: &ServedModel, request: &mut Request) -> Result<Vec<(Asked, Source)>, Fault> {
    let is_head = |output: &Output<'_>| matches!(output.source, Source::Head(_));
    // with files, there is no more than the findings: what the network said of them is not kept
    let dicom = matches!(request.input, Input::Dicom(_));
    let mut available = outputs::of(model);
    available.retain(|output| !dicom || is_head(output));
    if request.outputs.is_empty() {
        let binary = request.binary;
        let by_default = |output: &Output<'_>| {
            let name = output.name.to_owned();
            (Asked { name, binary }, output.source)
        };
        return Ok(available
            .iter()
            .filter(|output| is_head(output))
            .map(by_default)
            .collect());
    }
    let unknown = || {
        let known: Vec<_> = available.iter().map(|output| output.name).collect();
        let place = if dicom { " for the input dicom" } else { "" };
        let message = format!("there is no such output{place}: there are {}", known.join(", "));
        invalid("output", message)
    };
    let named = |asked: Asked| {
        let output = available.iter().find(|output| output.name == asked.name);
        Ok((asked, output.ok_or_else(unknown)?.source))
    };
    std::mem::take(&mut request.outputs)
        .into_iter()
        .map(named)
        .collect()
}

async fn of_tensors(
    inference: &Inference,
    requests: Vec<TensorRequest>,
    asked: Vec<(Asked, Source)>,
) -> Result<(String, Vec<Column>), ProtocolError> {
    let images = requests.len();
    let of_image =
        move |index, fault: Fault| ProtocolError::of_image(index, images, fault.kind, &fault.to_string());
    let inferred: Vec<Inferred> = together(requests, |index, request| {
        let inference = inference.clone();
        async move {
            let inferred = inference.infer(request).await;
            inferred.map_err(|fault| of_image(index, fault))
        }
    })
    .await?;
    let device = named(inferred.iter().map(|inferred| inferred.device.to_string()));
    let columns = columns(asked, |source, name| {
        let row =
            |(index, inferred)| of_tensor(inferred, source, name).map_err(|fault| of_image(index, fault));
        inferred.iter().enumerate().map(row).collect()
    })?;
    Ok((device, columns))
}

/// What ran the images of one request: each device once, with commas between them.
fn named(devices: impl Iterator<Item = String>) -> String {
    let devices: BTreeSet<String> = devices.collect();
    devices.into_iter().collect::<Vec<_>>().join(",")
}

/// The answers for files, with what was found of their intended use and what ran them.
async fn of_files(
    inference: &Inference,
    model: &ServedModel,
    requests: Vec<ScoreRequest>,
    asked: Vec<(Asked, Source)>,
) -> Result<(&'static str, String, Vec<Column>), ProtocolError> {
    let images = requests.len();
    let results: Vec<InstanceResult> = together(requests, |index, request| {
        let inference = inference.clone();
        async move {
            let (result, fault) = scored(&inference, request, images).await;
            let Some(kind) = fault else { return Ok(result) };
            let reason = result.reason.map_or_else(String::new, |reason| {
                format!("{} ({})", reason.message, reason.code)
            });
            Err(ProtocolError::of_image(index, images, kind, &reason))
        }
    })
    .await?;
    let overridden =
        |result: &InstanceResult| matches!(result.intended_use, Some(IntendedUseCheck::Overridden { .. }));
    let check = if results.iter().any(overridden) {
        "overridden"
    } else {
        "met"
    };
    let columns = columns(asked, |source, _| {
        let Source::Head(head) = source else {
            return Err(broken().into());
        };
        let row = |result: &InstanceResult| of_findings(model, &result.findings, head);
        Ok(results.iter().map(row).collect())
    })?;
    let device = named(results.iter().filter_map(|result| result.device.clone()));
    Ok((check, device, columns))
}

/// Scores one of so many images of a request. Where there is no memory to decode it in, the others of the request may be what takes it: it
/// waits for these until its deadline.
async fn scored(
    inference: &Inference,
    request: ScoreRequest,
    images: usize,
) -> (InstanceResult, Option<FaultKind>) {
    let until = inference.deadline(&request.call, Instant::now());
    loop {
        let mut asked = request.clone();
        asked.call.deadline = Some(until.saturating_duration_since(Instant::now()));
        let (result, fault) = inference.score(asked).await;
        let is_alone = images == 1 || !result.reason.as_ref().is_some_and(was_full);
        if is_alone || Instant::now() + AGAIN >= until {
            return (result, fault);
        }
        sleep(AGAIN).await;
    }
}

fn columns(
    asked: Vec<(Asked, Source)>,
    rows: impl Fn(Source, &str) -> Result<Vec<Row>, ProtocolError>,
) -> Result<Vec<Column>, ProtocolError> {
    asked
        .into_iter()
        .map(|(asked, source)| {
            let rows = rows(source, &asked.name)?;
            Ok(Column::of(asked.name, asked.binary, rows))
        })
        .collect()
}

/// Runs all at the same time, each with its index, and gives the results in the order of the requests. The first that fails is the
/// answer: it ends what was not done yet, as does whoever hangs up.
async fn together<R, T, F>(requests: Vec<R>, run: impl Fn(usize, R) -> F) -> Result<Vec<T>, ProtocolError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, ProtocolError>> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut results: Vec<Option<T>> = Vec::new();
    for (index, request) in requests.into_iter().enumerate() {
        let one = run(index, request);
        running.spawn(async move { (index, one.await) });
        results.push(None);
    }
    while let Some(ended) = running.join_next().await {
        let (index, result) = ended.map_err(|_| broken())?;
        if let Some(place) = results.get_mut(index) {
            *place = Some(result?);
        }
    }
    let all = results.into_iter().collect::<Option<_>>();
    all.ok_or_else(|| broken().into())
}

fn broken() -> Fault {
    Fault::new(
        FaultKind::Internal,
        "panic",
        "the server made a mistake; its log has the cause",
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::inference::Settings;
    use crate::runtime::{Device, Runtime};
    use crate::telemetry::metrics::Metrics;

    /// More images of one request than may wait for memory are no reason to refuse it: they wait for each other.
    #[tokio::test(flavor = "multi_thread")]
    async fn a_batch_of_large_images_is_scored() {
        let settings = Settings {
            cores: 8,
            instances: 1,
            queue: 64,
            deadline: Duration::from_mins(2),
            // as much as one file that is deflated may need
            decode_memory: 512 << 20,
        };
        let inference = Inference::new(settings, Metrics::new().unwrap()).unwrap();
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let runtime = Runtime::open(None, Device::Cpu).unwrap();
        inference.load(&folder.join("models"), runtime);
        let model = inference.study_model().unwrap();
        let file = std::fs::read(folder.join("tests/data/decode/deflated-8u.dcm")).unwrap();
        let request = ScoreRequest {
            model: Arc::clone(&model),
            image: ImageBytes::Dicom(file.into()),
            overrides: overrides(Some("intended-use,quality,distribution")).unwrap(),
            call: Call::default(),
        };
        for _ in 0..4 {
            let requests = vec![request.clone(); 16];
            let scored = of_files(&inference, &model, requests, Vec::new()).await;
            assert!(scored.is_ok(), "{:?}", scored.err());
        }
    }

    #[tokio::test]
    async fn the_first_image_that_fails_is_the_answer_and_ends_the_others() {
        let running = Arc::new(());
        let held = Arc::clone(&running);
        let run = move |index: usize, ()| {
            let held = Arc::clone(&held);
            async move {
                if index == 2 {
                    let full = Fault::new(FaultKind::Overloaded, "overloaded", "too many images are waiting");
                    return Err(ProtocolError::of_image(index, 4, full.kind, &full.to_string()));
                }
                // a place in the line, for as long as it takes
                std::future::pending::<()>().await;
                drop(held);
                Ok(())
            }
        };
        let failed = tokio::time::timeout(Duration::from_secs(10), together(vec![(); 4], run)).await;
        let failed = failed.expect("it waits for the others").unwrap_err();
        assert!(format!("{failed:?}").contains("image 3 of 4: too many images are waiting"));
        while Arc::strong_count(&running) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
