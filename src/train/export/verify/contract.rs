//! What travels inside the ONNX file has to be what the manifest says.

use prost::Message;

use super::{Unmet, is_own};
use crate::image::preprocess::METADATA_KEY;
use crate::model::onnx_format::ModelProto;
use crate::model::{ModelManifest, Package};
use crate::train::export::lineage::{LABELS, RECIPE, WEIGHTS};
use crate::train::export::package::{INTENDED_USE_KEY, LABELS_KEY, LINEAGE_KEY};

/// What the lineage of a package of `osteon-train` holds, of each network.
const DIGESTS: [&str; 3] = [RECIPE, LABELS, WEIGHTS];

/// Compares the file of `package` with `manifest`, which is its own but for the self-tests.
pub(super) fn contract(package: &Package, manifest: &ModelManifest) -> Result<String, Unmet> {
    let model = ModelProto::decode(package.model.as_slice()).map_err(|error| error.to_string())?;
    let expected = [
        (METADATA_KEY, serde_json::to_string(&manifest.preprocessing)),
        (
            LABELS_KEY,
            serde_json::to_string(&manifest.labels().collect::<Vec<_>>()),
        ),
        (INTENDED_USE_KEY, serde_json::to_string(&manifest.intended_use)),
        (LINEAGE_KEY, serde_json::to_string(&manifest.lineage)),
    ];
    let entry = |key: &str| model.metadata_props.iter().find(|entry| entry.key == key);
    if expected.iter().all(|(key, _)| entry(key).is_none()) {
        return Err(Unmet::Lacks(format!(
            "the ONNX file holds none of {}: the manifest alone says how images are prepared and what the numbers mean, so compare it with the network's own description",
            expected.map(|(key, _)| key).join(", ")
        )));
    }
    for (key, expected) in &expected {
        // as text and back: a 32-bit number has more digits as a value than as text
        let expected = expected.as_ref().map_err(ToString::to_string)?;
        let expected: serde_json::Value =
            serde_json::from_str(expected).map_err(|error| error.to_string())?;
        let entry = entry(key).ok_or_else(|| format!("the ONNX file does not hold {key}"))?;
        let inside: serde_json::Value =
            serde_json::from_str(&entry.value).map_err(|error| format!("{key} is not valid: {error}"))?;
        if inside != expected {
            return Err(Unmet::Fails(format!(
                "{key} in the ONNX file is not what the manifest says"
            )));
        }
    }
    if is_own(manifest) {
        for what in DIGESTS {
            let named = manifest.lineage.iter().find(|(entry, _)| entry.ends_with(what));
            let is_digest =
                |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !named.is_some_and(|(_, digest)| is_digest(digest)) {
                return Err(Unmet::Fails(format!(
                    "the lineage does not name the {what}, so that nobody can tell what the model was made of: export it again from its run"
                )));
            }
        }
    }
    Ok("preprocessing, labels, intended use and lineage agree with the manifest".to_owned())
}
