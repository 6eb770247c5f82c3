//! The exported network as the server will run it: by ONNX Runtime, one engine on each core.

use crate::image::preprocess::Preprocessing;
use crate::model::ModelManifest;
use crate::runtime::{Engine, Network, Prediction, Runtime};
use crate::train::data::samples::Image;

/// A network with an engine for each core.
pub(super) struct Served {
    engines: Vec<Engine>,
    contract: Preprocessing,
}

impl Served {
    /// Loads the bytes of an ONNX file.
    ///
    /// # Errors
    /// What ONNX Runtime said.
    pub(super) fn load(runtime: &Runtime, model: &[u8], manifest: &ModelManifest) -> Result<Self, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let failed = |error: crate::runtime::RuntimeError| error.to_string();
        let network = Network::new(runtime, model).map_err(failed)?;
        let engines = (0..cores).map(|_| network.engine(manifest));
        Ok(Self {
            engines: engines.collect::<Result<_, _>>().map_err(failed)?,
            contract: manifest.preprocessing.clone(),
        })
    }

    /// Answers each image by itself, as the server does on the CPU.
    ///
    /// # Errors
    /// What ONNX Runtime or the images' cache said.
    pub(super) fn answer(&mut self, images: &[Image]) -> Result<Vec<Prediction>, String> {
        let contract = &self.contract;
        let share = images.len().div_ceil(self.engines.len()).max(1);
        std::thread::scope(|scope| {
            let threads: Vec<_> = images
                .chunks(share)
                .zip(&mut self.engines)
                .map(|(images, engine)| {
                    scope.spawn(move || {
                        images
                            .iter()
                            .map(|image| answer(engine, contract, image))
                            .collect::<Result<Vec<_>, _>>()
                    })
                })
                .collect();
            let mut all = Vec::with_capacity(images.len());
            for thread in threads {
                all.extend(thread.join().map_err(|_| "a thread of the network panicked")??);
            }
            Ok(all)
        })
    }
}

fn answer(engine: &mut Engine, contract: &Preprocessing, image: &Image) -> Result<Prediction, String> {
    let plane = image.plane().map_err(|error| error.to_string())?;
    let tensor = contract.tensor(&plane);
    let prediction = engine.run(&[&tensor]).map_err(|error| error.to_string())?.pop();
    prediction.ok_or_else(|| "the network gave no answer".to_owned())
}
