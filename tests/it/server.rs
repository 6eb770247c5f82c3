//! A real server on a free port of the loopback interface, with a folder of its own, and files to send to it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dicom_core::{DataElement, PrimitiveValue, Tag, VR};
use dicom_object::{FileDicomObject, InMemDicomObject};
use osteon::app::Server;
use osteon::config::{Config, Given};
use osteon::image::phantom::{Recipe, to_dicom};
use osteon::inference::Inference;
use reqwest::{Client, Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;

/// The bundled model.
pub(crate) const MODEL: &str = "spine-osteoporosis-phantom";

/// A running server; dropping it takes its folder away.
pub(crate) struct TestServer {
    pub(crate) url: String,
    pub(crate) client: Client,
    server: Option<Server>,
    data: Arc<TempDir>,
}

pub(crate) fn bundled_models() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models")
}

pub(crate) fn sample() -> Vec<u8> {
    std::fs::read(bundled_models().join(MODEL).join("1/sample.dcm")).unwrap()
}

/// Another image that the bundled model scores.
pub(crate) fn second() -> Vec<u8> {
    std::fs::read(bundled_models().join(MODEL).join("1/second.dcm")).unwrap()
}

impl TestServer {
    /// With the bundled model, loaded and proven.
    pub(crate) async fn start() -> Self {
        Self::with(bundled_models(), Given::default()).await
    }

    pub(crate) async fn with(models: PathBuf, given: Given) -> Self {
        Self::beside(Arc::new(tempfile::tempdir().unwrap()), models, given, None).await
    }

    /// Another server on the same store.
    pub(crate) async fn and(&self, given: Given) -> Self {
        Self::beside(self.data.clone(), bundled_models(), given, None).await
    }

    /// With a configuration file that has this text.
    pub(crate) async fn with_file(text: &str, given: Given) -> Self {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join("osteon.toml");
        std::fs::write(&file, text).unwrap();
        Self::beside(Arc::new(data), bundled_models(), given, Some(&file)).await
    }

    async fn beside(data: Arc<TempDir>, models: PathBuf, given: Given, file: Option<&Path>) -> Self {
        let given = Given {
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            models: Some(models),
            data: Some(data.path().to_owned()),
            quiet_seconds: given.quiet_seconds.or(Some(0.5)),
            linger_seconds: Some(0.0),
            ..given
        };
        let mut server = Server::start(Config::resolve(given, file).unwrap())
            .await
            .unwrap();
        server.loaded().await.unwrap();
        Self {
            url: format!("http://{}", server.address),
            client: Client::new(),
            server: Some(server),
            data,
        }
    }

    /// Where its store is.
    pub(crate) fn data(&self) -> &Path {
        self.data.path()
    }

    /// Runs `osteon` with these words and the server's store; gives its status and what it printed.
    pub(crate) async fn osteon(&self, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_osteon"));
        command
            .args(words)
            .arg("--data")
            .arg(self.data())
            .env("OSTEON_MODELS", bundled_models());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        let printed = [output.stdout, output.stderr]
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .concat();
        (output.status.code().unwrap(), printed)
    }

    /// What runs its models.
    pub(crate) fn inference(&self) -> Inference {
        self.server.as_ref().unwrap().inference.clone()
    }

    /// Where it takes DICOM associations, if it does.
    pub(crate) fn dicom(&self) -> Option<SocketAddr> {
        self.server.as_ref().unwrap().dicom
    }

    pub(crate) async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(
            self.client
                .get(format!("{}{path}", self.url))
                .send()
                .await
                .unwrap(),
        )
        .await
    }

    pub(crate) async fn post(&self, path: &str, media_type: &str, body: Vec<u8>) -> (StatusCode, Value) {
        let request = self
            .client
            .post(format!("{}{path}", self.url))
            .header("content-type", media_type)
            .body(body);
        answer(request.send().await.unwrap()).await
    }

    /// `POST /v1/models/{bundled}/score` with a DICOM body.
    pub(crate) async fn score(&self, body: Vec<u8>) -> (StatusCode, Value) {
        self.post(&format!("/v1/models/{MODEL}/score"), "application/dicom", body)
            .await
    }

    pub(crate) async fn stop(mut self) {
        let server = self.server.take().unwrap();
        server.stopping.cancel();
        server.stopped().await.unwrap();
    }
}

async fn answer(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    (status, response.json().await.unwrap())
}

/// A small phantom as a DICOM file.
pub(crate) fn phantom(seed: u64) -> FileDicomObject<InMemDicomObject> {
    to_dicom(&Recipe::new(seed, 160, 120).render(), 9, seed as u32, 0).unwrap()
}

pub(crate) fn bytes(object: &FileDicomObject<InMemDicomObject>) -> Vec<u8> {
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

/// The same file with one element changed.
pub(crate) fn with(
    object: &FileDicomObject<InMemDicomObject>,
    tag: Tag,
    vr: VR,
    value: impl Into<PrimitiveValue>,
) -> Vec<u8> {
    let mut changed = object.clone();
    changed.put(DataElement::new(tag, vr, value.into()));
    bytes(&changed)
}

/// The same file without an element.
pub(crate) fn without(object: &FileDicomObject<InMemDicomObject>, tag: Tag) -> Vec<u8> {
    let mut changed = object.clone();
    changed.remove_element(tag);
    bytes(&changed)
}
