//! The weights that a training starts from: random ones, or those of a file, as far as they fit.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::super::network::{
    Checkpoint, CheckpointError, Graph, Matching, Report, Selection, TransferError, Weights, initial_weights,
    transfer,
};
use super::recipe::{Recipe, RecipeError};
use crate::model::package::sha256;

/// The file of a run that says where its first weights came from.
pub(in crate::train) const ORIGIN: &str = "initial-weights.json";

/// Where a training's weights come from, as a recipe says it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Initial {
    /// A safetensors or PyTorch file, or the folder of an earlier run.
    pub file: PathBuf,
    /// Of the file; one that is given must be its digest.
    pub sha256: Option<String>,
    /// How its tensors find their parameters.
    pub matching: Matching,
    /// The last stage to fill, 0 for the stem alone; none fills all that fits, the head too.
    pub stages: Option<usize>,
}

/// Weights to start from, and what is known about them.
#[derive(Clone, Debug)]
pub struct Start {
    /// They fit the recipe's network.
    pub weights: Weights,
    /// What a file had to do with them.
    pub origin: Option<Origin>,
}

/// What a file had to do with a training's first weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The file's name, without its folder.
    pub file: String,
    /// Its digest.
    pub sha256: String,
    /// What was taken from it.
    pub report: Report,
    /// Where it is an earlier run: what that one started from, and so on, the last one before first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Ancestor>,
}

/// Weights that an earlier training started from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ancestor {
    /// The file's name, without its folder.
    pub file: String,
    /// Its digest.
    pub sha256: String,
    /// How much of it was taken, as `20 of 37`.
    pub share: String,
}

/// Why a training cannot start from what its recipe names.
#[derive(Debug, thiserror::Error)]
#[error("initial weights, {file}: {problem}")]
pub struct StartError {
    file: String,
    problem: Problem,
}

#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    #[error("has the SHA-256 {found}; the recipe asks for {wanted}")]
    Digest { found: String, wanted: String },
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Transfer(#[from] TransferError),
    #[error(transparent)]
    Recipe(#[from] RecipeError),
}

/// The weights with which `recipe` starts: random ones from its seed, and over them what it wants of a file.
pub fn start(recipe: &Recipe) -> Result<Start, StartError> {
    let initial = recipe.initial.as_ref();
    let name = initial.and_then(|initial| initial.file.file_name());
    let file = name.map_or("none".to_owned(), |name| name.to_string_lossy().into_owned());
    let failed = |problem: Problem| StartError {
        file: file.clone(),
        problem,
    };
    let network = || -> Result<(Graph, Weights), RecipeError> {
        let graph = recipe.graph()?;
        let weights = initial_weights(&graph, recipe.seed)?;
        Ok((graph, weights))
    };
    let (graph, mut weights) = network().map_err(|error| failed(error.into()))?;
    let Some(initial) = initial else {
        let origin = None;
        return Ok(Start { weights, origin });
    };
    let taken = fill(&graph, &mut weights, initial).map_err(&failed)?;
    let (sha256, report) = taken;
    let origin = Some(Origin {
        file,
        sha256,
        report,
        before: ancestors(&initial.file),
    });
    Ok(Start { weights, origin })
}

fn fill(graph: &Graph, weights: &mut Weights, initial: &Initial) -> Result<(String, Report), Problem> {
    let run = initial.file.join("recipe.json");
    let path = if initial.file.is_dir() {
        initial.file.join("weights.safetensors")
    } else {
        initial.file.clone()
    };
    let bytes = std::fs::read(path)?;
    let found = sha256(&bytes);
    if let Some(wanted) = initial.sha256.clone().filter(|wanted| *wanted != found) {
        return Err(Problem::Digest { found, wanted });
    }
    let mut source = Checkpoint::read(&bytes)?;
    drop(bytes);
    if let Some(order) = order_of_run(&run) {
        source.arrange(order.iter().map(String::as_str));
    }
    let selection = Selection {
        matching: initial.matching,
        stages: initial.stages,
    };
    let report = transfer(graph, weights, &source, selection)?;
    Ok((found, report))
}

/// What the training in `run`, if it is one, started from, and those before it, as far as it knows.
fn ancestors(run: &Path) -> Vec<Ancestor> {
    let text = |file: &str| std::fs::read_to_string(run.join(file)).ok();
    let recipe: Option<Recipe> = text("recipe.json").and_then(|text| serde_json::from_str(&text).ok());
    let origin: Option<Origin> = recipe
        .and_then(|recipe| recipe.initial)
        .and_then(|_| serde_json::from_str(&text(ORIGIN)?).ok());
    let Some(origin) = origin else {
        return Vec::new();
    };
    let last = Ancestor {
        share: origin.report.share(),
        file: origin.file,
        sha256: origin.sha256,
    };
    std::iter::once(last).chain(origin.before).collect()
}

/// The parameters of an earlier run's network as they run; its weights file keeps no order.
fn order_of_run(recipe: &Path) -> Option<Vec<String>> {
    let recipe: Recipe = serde_json::from_str(&std::fs::read_to_string(recipe).ok()?).ok()?;
    let graph = recipe.graph().ok()?;
    let parameters = graph.shapes().ok()?.parameters(&graph);
    Some(parameters.into_iter().map(|(name, _)| name).collect())
}
