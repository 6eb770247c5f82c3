//! F5: one model fails, crashes, or is replaced by something broken, while another one serves on.
//!
//! The fragile model here looks up a number by the brightness of the image: its goldens are dark and it proves itself, and an ordinary image
//! leads it outside of its table, where ONNX Runtime fails.

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

pub(crate) async fn run(stage: &Stage, engine: Engine) -> Result<Vec<Row>, String> {
    if engine == Engine::Postgres {
        // the database has no part in it
        return Ok(Vec::new());
    }
    let gpu = Row::new("F5", "the GPU runs out of memory", "-")
        .left_out("there is no GPU here: examples/gpu_check.rs");
    Ok(vec![fails(stage).await?, replaced(stage).await?, gpu])
}

/// A model that fails on every image costs the other one nothing.
async fn fails(stage: &Stage) -> Result<Row, String> {
    let mut row = Row::new("F5", "a model fails at every image", "-");
    let mut ground = stage.ground("F5", Engine::Sqlite)?;
    let models = ground.own_models()?.to_owned();
    Tiny::new(MODEL, 1).publish(&models);
    fragile().publish_with(&models, |_, files| {
        files.insert(NETWORK.to_owned(), fragile_network(0.26));
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
                files.insert(NETWORK.to_owned(), fragile_network(-1.0));
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

/// The tiny network with a look-up in a table of two zeros on the way, which fails where the mean is well above `limit`.
fn fragile_network(limit: f32) -> Vec<u8> {
    let mut network = fragile().network();
    let graph = network.graph.as_mut().unwrap();
    let constant = |name: &str, data_type: DataType, dims: Vec<i64>, raw_data: Vec<u8>| TensorProto {
        name: name.into(),
        dims,
        data_type: data_type as i32,
        raw_data,
        ..TensorProto::default()
    };
    graph
        .initializer
        .push(constant("table", DataType::Float, vec![2], vec![0; 8]));
    graph.initializer.push(constant(
        "steps",
        DataType::Float,
        vec![1],
        4000_f32.to_le_bytes().to_vec(),
    ));
    let node = |operator: &str, inputs: &[&str], output: &str, attribute: Option<(&str, i64)>| NodeProto {
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
    };
    let logits = graph.node.iter().position(|node| node.name == "logits").unwrap();
    graph.node[logits].input[0] = "embedding-and-looked-up".into();
    // the goldens are -0.5 and 0.25
    let floor = constant("floor", DataType::Float, vec![1], limit.to_le_bytes().to_vec());
    graph.initializer.push(floor);
    let nodes = [
        node("Sub", &["mean", "floor"], "above", None),
        node("Relu", &["above"], "bright", None),
        node("Mul", &["bright", "steps"], "position", None),
        node(
            "Cast",
            &["position"],
            "index",
            Some(("to", DataType::Int64 as i64)),
        ),
        node("Gather", &["table", "index"], "looked-up", None),
        node(
            "Add",
            &["embedding", "looked-up"],
            "embedding-and-looked-up",
            None,
        ),
    ];
    graph.node.splice(logits..logits, nodes);
    network.encode_to_vec()
}
