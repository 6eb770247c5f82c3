//! F5: one model fails, crashes, or is replaced by something broken, while another one serves on.
//!
//! The fragile model does by the brightness of the image what can be done for a dark one only: its goldens are dark and it proves itself,
//! and with an ordinary image ONNX Runtime fails, outside of a table or for lack of memory.

use std::time::{Duration, Instant};

use osteon::model::onnx_format::{AttributeProto, AttributeType, DataType, NodeProto, TensorProto};
use osteon::model::package::{GOLDENS, MODEL as NETWORK};
use prost::Message;
use serde_json::Value;
use tokio::time::sleep;

use crate::ground::{Engine, MODEL, Stage};
use crate::stage::ledger::ask;
use crate::stage::load::client;
use crate::stage::study::{Image, image, uid};
use crate::stage::supervisor::Supervised;
use crate::table::Row;
use crate::tiny::Tiny;

const FRAGILE: &str = "fragile";
const BACK_WITHIN: Duration = Duration::from_secs(30);

/// How the fragile model fails.
#[derive(Clone, Copy)]
enum Failure {
    /// It looks up what its table does not have.
    Lookup,
    /// It needs more memory than any machine has: ONNX Runtime's allocator is refused.
    Memory,
}

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    if engine == Engine::Postgres {
        // the database has no part in it
        return Ok(Vec::new());
    }
    let gpu = Row::new("F5", "the GPU runs out of memory", "-").left_out("there is no GPU here");
    Ok(vec![
        fails(stage, "a model fails at every image", Failure::Lookup).await?,
        fails(
            stage,
            "a model runs out of memory at every image",
            Failure::Memory,
        )
        .await?,
        replaced(stage).await?,
        gpu,
    ])
}

/// A model that fails on every image costs the other one nothing.
async fn fails(stage: &Stage, what: &str, failure: Failure) -> Result<Row, String> {
    let mut row = Row::new("F5", what, "-");
    let mut ground = stage.ground("F5", Engine::Sqlite)?;
    let models = ground.own_models()?.to_owned();
    Tiny::new(MODEL, 1).publish(&models);
    fragile().publish_with(&models, |_, files| {
        files.insert(NETWORK.to_owned(), fragile_network(failure, 0.26));
    });
    let settings = ground.settings("fragile");
    let supervised = Supervised::start(&settings);
    supervised.ready(BACK_WITHIN).await?;
    let image = image(&uid(ground.run, 0), 1, 64);
    let url = settings.url();
    let (mut good, mut failed, mut other) = (0, 0, Vec::new());
    for _ in 0..if stage.quick() { 200 } else { 2000 } {
        let (healthy, fragile) = tokio::join!(score(&url, MODEL, &image), score(&url, FRAGILE, &image));
        good += usize::from(healthy == Some(200));
        failed += usize::from(fragile == Some(500));
        if healthy != Some(200) || fragile != Some(500) {
            other.push((healthy, fragile));
        }
    }
    let live = ask(&client(), &settings.url(), "/health/live")
        .await
        .map(|(status, _)| status);
    let ends = supervised.stop().await;
    row.done = format!("{failed} images failed, {good} scored by the other model");
    row.must(
        other.is_empty(),
        format!("(other model, failing model) answered {:?}", other.first()),
    );
    row.must(live == Some(200), "the server was not live");
    row.must(
        ends.crashed + ends.exited == 0,
        format!("the server ended: {ends:?}"),
    );
    Ok(row)
}

/// A version that is broken does not replace the one that serves; a sound one after it does, and soon.
async fn replaced(stage: &Stage) -> Result<Row, String> {
    let mut row = Row::new("F5", "a package is replaced by a broken one", "-");
    let mut ground = stage.ground("F5", Engine::Sqlite)?;
    let models = ground.own_models()?.to_owned();
    Tiny::new(MODEL, 1).publish(&models);
    Tiny::new(FRAGILE, 1).publish(&models);
    let mut settings = ground.settings("replaced");
    settings
        .arguments
        .extend(["--watch-seconds", "1"].map(String::from));
    let supervised = Supervised::start(&settings);
    supervised.ready(BACK_WITHIN).await?;
    let image = image(&uid(ground.run, 0), 1, 64);
    let url = settings.url();
    let rounds = if stage.quick() { 2 } else { 10 };
    let (mut slowest, mut scored, mut lapses) = (Duration::ZERO, 0, 0);
    for round in 0..rounds {
        let version = 2 + round * 2;
        Tiny::new(FRAGILE, version).publish_with(&models, |_, files| {
            if round % 2 == 0 {
                // it fails while it proves itself
                files.insert(NETWORK.to_owned(), fragile_network(Failure::Lookup, -1.0));
            } else {
                let goldens = files.get_mut(GOLDENS).unwrap();
                *goldens = String::from_utf8_lossy(goldens)
                    .replace("0.25", "0.75")
                    .into_bytes();
            }
        });
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            for model in [MODEL, FRAGILE] {
                match score(&url, model, &image).await {
                    Some(200) => scored += 1,
                    _ => lapses += 1,
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
        let mended = Instant::now();
        Tiny::new(FRAGILE, version + 1).publish(&models);
        while serving(&url).await != Some(version + 1) && mended.elapsed() < BACK_WITHIN {
            sleep(Duration::from_millis(50)).await;
        }
        slowest = slowest.max(mended.elapsed());
    }
    supervised.stop().await;
    row.done = format!("replaced {rounds} times; {scored} images scored");
    row.must(
        lapses == 0,
        format!("{lapses} images were not scored while a broken version lay there"),
    );
    row.must(
        slowest < BACK_WITHIN,
        format!("a sound version did not serve within {BACK_WITHIN:?}"),
    );
    row.figure(format!(
        "a sound version served {:.1} s after",
        slowest.as_secs_f64()
    ));
    Ok(row)
}

async fn score(url: &str, model: &str, image: &Image) -> Option<u16> {
    let request = client()
        .post(format!("{url}/v1/models/{model}/score"))
        .header("content-type", "application/dicom")
        .body(image.bytes.clone());
    Some(request.send().await.ok()?.status().as_u16())
}

/// The version of the fragile model that answers.
async fn serving(url: &str) -> Option<u32> {
    let (_, list) = ask(&client(), url, "/v1/models").await?;
    let models: Vec<Value> = list.as_array().or_else(|| list["models"].as_array())?.clone();
    let versions = models
        .iter()
        .filter(|model| model["name"] == FRAGILE && model["state"] == "ready");
    versions
        .filter_map(|model| Some(model["version"].as_u64()? as u32))
        .max()
}

fn fragile() -> Tiny {
    Tiny::new(FRAGILE, 1)
}

/// The tiny network with what adds zero on the way, and fails where the mean is well above `limit`.
fn fragile_network(failure: Failure, limit: f32) -> Vec<u8> {
    let mut network = fragile().network();
    let graph = network.graph.as_mut().unwrap();
    let logits = graph.node.iter().position(|node| node.name == "logits").unwrap();
    graph.node[logits].input[0] = "embedding-and-nothing".into();
    // the goldens are -0.5 and 0.25; a step is a place in a table of two, or 2^46 numbers of four bytes
    let (step, nodes) = match failure {
        Failure::Lookup => (
            4e3_f32,
            vec![node("Gather", &["table", "index"], "nothing", None)],
        ),
        Failure::Memory => (
            2_f32.powi(46),
            vec![
                node("Reshape", &["index", "flat"], "sides", None),
                node("ConstantOfShape", &["sides"], "zeros", None),
                node("ReduceSum", &["zeros"], "nothing", Some(("keepdims", 0))),
            ],
        ),
    };
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect();
    graph.initializer.extend([
        constant("table", DataType::Float, 2, floats(&[0.0, 0.0])),
        constant("step", DataType::Float, 1, floats(&[step])),
        constant("floor", DataType::Float, 1, floats(&[limit])),
        constant("flat", DataType::Int64, 1, (-1_i64).to_le_bytes().to_vec()),
    ]);
    let before = [
        node("Sub", &["mean", "floor"], "above", None),
        node("Relu", &["above"], "bright", None),
        node("Mul", &["bright", "step"], "position", None),
        node(
            "Cast",
            &["position"],
            "index",
            Some(("to", DataType::Int64 as i64)),
        ),
    ];
    let after = node("Add", &["embedding", "nothing"], "embedding-and-nothing", None);
    let nodes = before.into_iter().chain(nodes).chain([after]);
    graph.node.splice(logits..logits, nodes);
    network.encode_to_vec()
}

/// A row of `count` numbers that belongs to the network.
fn constant(name: &str, data_type: DataType, count: i64, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: vec![count],
        data_type: data_type as i32,
        raw_data,
        ..TensorProto::default()
    }
}

fn node(operator: &str, inputs: &[&str], output: &str, attribute: Option<(&str, i64)>) -> NodeProto {
    NodeProto {
        op_type: operator.into(),
        name: output.into(),
        input: inputs.iter().map(|&input| input.into()).collect(),
        output: vec![output.into()],
        attribute: attribute
            .into_iter()
            .map(|(name, i)| AttributeProto {
                name: name.into(),
                i,
                r#type: AttributeType::Int as i32,
                ..AttributeProto::default()
            })
            .collect(),
        ..NodeProto::default()
    }
}
