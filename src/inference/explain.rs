//! Why a model says what it says: the radiograph with the evidence for one finding over it.
//!
//! The evidence is the model's activation map; where it gives none, the network is run again with parts of the image hidden, as
//! [`crate::image::occlusion`] lays them, as often as that has cells and for as long as the caller waits. These runs are routine work of the
//! caller, as many at a time as there are cores: others' scores take turns with them, and urgent ones go first.
//!
//! Invariant: decoded pixels never wait. Each turn in the line that needs them decodes the file anew, so that a hundred pictures at once
//! hold the pixels of as many images as there are workers (`docs/decisions/0045-decoded-pixels-never-wait.md`).

use std::sync::Arc;
use std::time::Instant;

use tokio::task::JoinSet;

use super::score::{findings, pixels};
use super::workers::{Turn, broken};
use super::{Call, Inference, Priority, Ran, ScoreRequest, ServedModel, line};
use crate::fault::{Fault, FaultKind};
use crate::finding::{Reading, Task};
use crate::image::heatmap::{self, ActivationMap, Explanation, Picture};
use crate::image::occlusion::{GRID, Occlusion, logit};
use crate::model::ModelManifest;
use crate::runtime::Prediction;

/// Occluded images that wait for a GPU at the same time, at most: a picture must not take the whole line.
const MOST_WAITING: usize = 8;

/// The radiograph with the evidence over it.
pub struct Heatmap {
    /// As a PNG.
    pub png: Vec<u8>,
    /// Where the evidence comes from.
    pub explanation: Explanation,
}

/// The same as pixels.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The picture.
    pub picture: Picture,
    /// Where the evidence comes from.
    pub explanation: Explanation,
}

impl Inference {
    /// The radiograph with the evidence for one finding over it; without a name, the first finding.
    ///
    /// # Errors
    /// A [`Fault`] where the image cannot be scored, the finding is unknown, or the time does not suffice.
    pub async fn heatmap(&self, request: ScoreRequest, finding: Option<&str>) -> Result<Heatmap, Fault> {
        let png = |picture: Picture| {
            picture
                .png()
                .map_err(|error| Fault::new(FaultKind::Internal, "png", error))
        };
        let (png, explanation) = self.evidence(request, finding, png).await?;
        Ok(Heatmap { png, explanation })
    }

    /// The same as pixels.
    ///
    /// # Errors
    /// As [`Self::heatmap`].
    pub async fn explain(&self, request: ScoreRequest, finding: Option<&str>) -> Result<Explained, Fault> {
        let (picture, explanation) = self.evidence(request, finding, Ok).await?;
        Ok(Explained { picture, explanation })
    }

    /// Finds the evidence, and makes of the picture what `finish` makes of it, where it is drawn.
    async fn evidence<T: Send + 'static>(
        &self,
        request: ScoreRequest,
        finding: Option<&str>,
        finish: impl FnOnce(Picture) -> Result<T, Fault> + Send + 'static,
    ) -> Result<(T, Explanation), Fault> {
        let model = Arc::clone(&request.model);
        let index = model.position(finding)?;
        let started = Instant::now();
        let (call, until) = (request.call.clone(), self.deadline(&request.call, started));
        let image = request.image.clone();
        // what is no score has no evidence either
        let Ran { prediction, .. } = self
            .run(request, started)
            .await
            .map_err(|unscored| unscored.fault)?;
        let whole = answer(&model.manifest, &prediction, index)?;
        let contract = model.manifest.preprocessing.clone();
        let (map, explanation) = if let Some(map) = given(&model.manifest, prediction, index) {
            (map, Explanation::ActivationMap)
        } else {
            let (image, contract, room) = (image.clone(), contract.clone(), self.decode_memory.clone());
            let occlusion = self
                .picture(&model, &call, until, move |turn| {
                    let pixels = pixels(image, &contract, &room, turn)?;
                    let (plane, placement) = contract.plane(&pixels.stored)?;
                    let tensor = contract.tensor(&plane);
                    Ok(Occlusion::new(&contract, tensor, placement.target, GRID))
                })
                .await?;
            let map = self
                .occluded(&model, occlusion, whole, index, &call, until)
                .await?;
            (map, Explanation::Occlusion)
        };
        map.check()
            .map_err(|what| Fault::new(FaultKind::Internal, "activation-map", what))?;
        let room = self.decode_memory.clone();
        let drawn = self
            .picture(&model, &call, until, move |turn| {
                let pixels = pixels(image, &contract, &room, turn)?;
                finish(heatmap::overlay(&contract, &pixels.stored, &map)?)
            })
            .await?;
        Ok((drawn, explanation))
    }

    /// Draws on a worker, in the model's line.
    async fn picture<T: Send + 'static>(
        &self,
        model: &ServedModel,
        call: &Call,
        until: Instant,
        draw: impl FnOnce(&Turn) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        self.workers.run(&model.line, call, until, draw).await?
    }

    /// The map of what the answer depends on; runs the network once for each cell of the grid.
    async fn occluded(
        &self,
        model: &Arc<ServedModel>,
        occlusion: Occlusion,
        whole: f32,
        index: usize,
        call: &Call,
        until: Instant,
    ) -> Result<ActivationMap, Fault> {
        let largest = model.batch_sizes.last().copied().unwrap_or(1);
        let together = together(
            model.runs_on_worker().then_some(self.settings.cores),
            largest,
            self.settings.queue,
        );
        let occlusion = Arc::new(occlusion);
        let call = Call {
            priority: Priority::Routine,
            ..call.clone()
        };
        let run = |cell| {
            let (inference, call) = (self.clone(), call.clone());
            let (model, occlusion) = (Arc::clone(model), Arc::clone(&occlusion));
            async move {
                let tensor = occlusion.tensor(cell);
                let ran = inference.tensor(&model, tensor, &call, until).await?;
                let occluded = answer(&model.manifest, &ran.prediction, index)?;
                Ok((cell, whole - occluded))
            }
        };
        let cells: Vec<usize> = occlusion.cells().collect();
        let drops = gathered(cells, together, until, run).await?;
        Ok(occlusion.map(drops))
    }
}

/// How many occluded images wait and run at the same time: one for each core that runs networks, or a part of a batch; never more than one
/// client may have in the line.
fn together(cores: Option<usize>, largest_batch: usize, queue: usize) -> usize {
    let most = cores.unwrap_or(largest_batch.min(MOST_WAITING));
    most.min(line::share(queue)).max(1)
}

/// Runs `run` for every cell, `together` at a time, until all are done, one fails or the time is over; those that still run then are
/// given up.
async fn gathered<T, R>(
    cells: Vec<usize>,
    together: usize,
    until: Instant,
    run: impl Fn(usize) -> R,
) -> Result<Vec<T>, Fault>
where
    T: Send + 'static,
    R: Future<Output = Result<T, Fault>> + Send + 'static,
{
    let runs = cells.len();
    let mut done = Vec::with_capacity(runs);
    let mut cells = cells.into_iter();
    let mut running = JoinSet::new();
    loop {
        for cell in cells.by_ref().take(together.saturating_sub(running.len())) {
            running.spawn(run(cell));
        }
        match tokio::time::timeout_at(until.into(), running.join_next()).await {
            Ok(None) => return Ok(done),
            Ok(Some(ended)) => done.push(ended.map_err(|_| broken())??),
            Err(_) => {
                let message = format!(
                    "this model gives no activation map, and of the {runs} runs that show where its evidence lies {} ended in time: wait longer, or try again when less is waiting",
                    done.len()
                );
                return Err(Fault::new(FaultKind::Overloaded, "deadline", message));
            }
        }
    }
}

impl ServedModel {
    /// The place of a finding among the model's labels, from 0; that of the first where none is named.
    ///
    /// # Errors
    /// `unknown-finding`, with those that there are.
    pub fn position(&self, finding: Option<&str>) -> Result<usize, Fault> {
        let Some(name) = finding else { return Ok(0) };
        let mut labels = self.manifest.labels();
        labels.position(|label| label.name == name).ok_or_else(|| {
            let known: Vec<&str> = self.manifest.labels().map(|label| label.name.as_str()).collect();
            Fault::new(
                FaultKind::NotFound,
                "unknown-finding",
                format!("the model's findings are {}", known.join(", ")),
            )
        })
    }
}

/// What the network says for one label, on the scale of a map: the logit of a probability; of a value with a unit, tenths of the range
/// that it can have. A value outside that range counts here: what is hidden may well lead there.
fn answer(manifest: &ModelManifest, prediction: &Prediction, index: usize) -> Result<f32, Fault> {
    let regression = manifest
        .heads
        .iter()
        .zip(&prediction.heads)
        .flat_map(|(head, said)| {
            let labels = head
                .labels
                .iter()
                .zip(said.values.iter().map(Some).chain(std::iter::repeat(None)));
            labels.map(move |(label, value)| {
                let quantity = label
                    .quantity
                    .as_ref()
                    .filter(|_| head.task == Task::Regression)?;
                let [low, high] = quantity.range;
                Some(value? * quantity.scale * 10.0 / (high - low))
            })
        });
    if let Some(Some(value)) = regression.into_iter().nth(index) {
        return Ok(value);
    }
    let findings = findings(manifest, prediction)?;
    match findings.get(index).map(|finding| &finding.reading) {
        Some(Reading::Probability { probability, .. }) => Ok(logit(*probability)),
        _ => Err(broken()),
    }
}

/// The model's own map for one label, where it gives one.
fn given(manifest: &ModelManifest, prediction: Prediction, index: usize) -> Option<ActivationMap> {
    let maps = prediction
        .heads
        .into_iter()
        .zip(&manifest.heads)
        .flat_map(|(head, described)| {
            let mut maps: Vec<_> = head.activation_maps.into_iter().map(Some).collect();
            maps.resize(described.labels.len(), None);
            maps
        });
    maps.into_iter().nth(index).flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn every_core_takes_its_part_and_a_gpu_a_part_of_a_batch() {
        assert_eq!(together(Some(12), 1, 256), 12);
        assert_eq!(together(Some(12), 1, 8), 6, "the rest of the line is for others");
        assert_eq!(together(None, 32, 256), 8);
        assert_eq!(together(None, 4, 256), 4);
        assert_eq!((together(Some(0), 1, 256), together(Some(4), 1, 0)), (1, 1));
    }

    #[tokio::test]
    async fn what_takes_longer_than_the_caller_waits_is_given_up() {
        let run = |cell: usize| async move {
            if cell == 3 {
                std::future::pending::<()>().await;
            }
            Ok(cell)
        };
        let until = Instant::now() + Duration::from_millis(20);
        let fault = gathered((0..8).collect(), 2, until, run).await.unwrap_err();
        assert_eq!((fault.kind, fault.code), (FaultKind::Overloaded, "deadline"));
        assert!(
            fault.message.contains("of the 8 runs") && fault.message.contains("7 ended"),
            "{fault}"
        );
    }

    #[tokio::test]
    async fn every_cell_is_run_and_no_more_together_than_may_be() {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let run = |cell: usize| {
            let (running, most) = (Arc::clone(&running), Arc::clone(&most));
            async move {
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(2)).await;
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(cell)
            }
        };
        let mut done = gathered((0..20).collect(), 3, later(), run).await.unwrap();
        done.sort_unstable();
        assert_eq!(done, (0..20).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn the_first_fault_ends_it_and_a_panic_is_one() {
        let asked = Arc::new(AtomicUsize::new(0));
        let run = |cell: usize| {
            let asked = Arc::clone(&asked);
            async move {
                asked.fetch_add(1, Ordering::SeqCst);
                if cell == 2 {
                    Err(super::super::workers::late())
                } else {
                    Ok(cell)
                }
            }
        };
        assert_eq!(
            gathered((0..1000).collect(), 1, later(), run)
                .await
                .unwrap_err()
                .code,
            "deadline"
        );
        assert_eq!(asked.load(Ordering::SeqCst), 3);
        let fault = gathered(vec![0], 1, later(), |_| async { panic!("as rehearsed") });
        let fault: Result<Vec<()>, Fault> = fault.await;
        assert_eq!(fault.unwrap_err().kind, FaultKind::Internal);
    }
}
