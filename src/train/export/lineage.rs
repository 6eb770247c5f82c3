//! Where a model comes from, as names and texts: program, recipe, labels, weights, and what they started from.

use std::collections::BTreeMap;

use super::answering::{Answering, Trained};
use crate::model::package::sha256;
use crate::train::learn::Origin;

/// The entry that names the program which made the package.
pub const PROGRAM: &str = "program";
/// The entry of a model that sees each image twice.
pub const VIEWS: &str = "views";
/// The end of the entries with the digests of weights, one for each network.
pub const WEIGHTS: &str = "weights sha256";
/// The end of the entries with the digests of recipes.
pub const RECIPE: &str = "recipe sha256";
/// The end of the entries with the digests of the tables of images with their labels.
pub const LABELS: &str = "labels sha256";

/// The lineage of networks that answer together.
///
/// # Errors
/// A sentence, where the recipe cannot be written down.
pub fn lineage(answering: &Answering) -> Result<BTreeMap<String, String>, String> {
    let mut lineage = BTreeMap::new();
    let mut say = |what: String, value: String| lineage.insert(what, value);
    say(
        PROGRAM.to_owned(),
        format!("osteon-train {}", env!("CARGO_PKG_VERSION")),
    );
    if answering.mirror {
        say(VIEWS.to_owned(), "the mean of image and mirror image".to_owned());
    }
    let several = answering.trained.len() > 1;
    for (place, one) in answering.trained.iter().enumerate() {
        for (what, value) in entries(one)? {
            let member = if several {
                format!("member {} ", place + 1)
            } else {
                String::new()
            };
            say(format!("{member}{what}"), value);
        }
    }
    Ok(lineage)
}

fn entries(one: &Trained) -> Result<[(&'static str, String); 7], String> {
    let (recipe, record) = (&one.recipe, &one.record);
    let recipe = serde_json::to_string(recipe).map_err(|error| error.to_string())?;
    Ok([
        (RECIPE, sha256(recipe.as_bytes())),
        (LABELS, record.data.labels_sha256.clone()),
        (WEIGHTS, one.weights_sha256.clone()),
        ("training images", record.data.training_images.to_string()),
        ("held-out images", record.data.validation_images.to_string()),
        (
            "epoch kept",
            format!("{} of {}", record.best_epoch + 1, record.history.len()),
        ),
        ("initial weights", initial_weights(one.origin.as_ref())),
    ])
}

fn initial_weights(origin: Option<&Origin>) -> String {
    let random = "random, from the recipe's seed";
    match origin {
        None => random.to_owned(),
        Some(origin) => {
            let mut text = format!(
                "{} parameters from {} (sha256 {}), the others {random}",
                origin.report.share(),
                origin.file,
                origin.sha256
            );
            for before in &origin.before {
                text = format!(
                    "{text}; before that {} parameters from {} (sha256 {})",
                    before.share, before.file, before.sha256
                );
            }
            text
        }
    }
}
