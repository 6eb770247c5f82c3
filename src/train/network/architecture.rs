//! The networks that a recipe can name: `{"family": "resnet18", "rows": 512, "columns": 384}`.

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

use super::families::{FAMILIES, Family, Published};
use super::graph::Graph;
use super::residual::Residual;
use super::shape::GraphError;

/// Which network, and how large. In a recipe, the settings of the network beside its name under `family`.
#[derive(Clone, Debug, PartialEq)]
pub enum Architecture {
    /// The small residual network, `residual`.
    Residual(Residual),
    /// One of [`FAMILIES`], by its own name.
    Published(&'static Family, Published),
}

/// The small residual network's name in recipes.
const RESIDUAL: &str = "residual";

impl Architecture {
    /// The network for `labels` labels.
    pub fn graph(&self, input_name: &str, labels: usize) -> Result<Graph, GraphError> {
        match self {
            Architecture::Residual(residual) => residual.graph(input_name, labels),
            Architecture::Published(family, settings) => settings.graph(family, input_name, labels),
        }
    }

    /// `[channels, rows, columns]` of the input.
    #[must_use]
    pub fn input(&self) -> [usize; 3] {
        match self {
            Architecture::Residual(residual) => [residual.channels, residual.rows, residual.columns],
            Architecture::Published(_, settings) => [settings.channels, settings.rows, settings.columns],
        }
    }
}

impl Default for Architecture {
    fn default() -> Self {
        Self::Residual(Residual::default())
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Named<'a, T> {
            family: &'a str,
            #[serde(flatten)]
            settings: &'a T,
        }
        match self {
            Architecture::Residual(settings) => {
                let family = RESIDUAL;
                Named { family, settings }.serialize(serializer)
            }
            Architecture::Published(Family { name: family, .. }, settings) => {
                Named { family, settings }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for Architecture {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut settings = Map::deserialize(deserializer)?;
        let name = settings.remove("family");
        match name.as_ref().and_then(Value::as_str) {
            Some(RESIDUAL) => Ok(Architecture::Residual(read(settings)?)),
            name => {
                let known = || FAMILIES.iter().map(|family| family.name);
                let family = FAMILIES.iter().find(|family| Some(family.name) == name);
                let family = family.ok_or_else(|| {
                    let known: Vec<&str> = std::iter::once(RESIDUAL).chain(known()).collect();
                    D::Error::custom(format!("family must be one of {}", known.join(", ")))
                })?;
                Ok(Architecture::Published(family, read(settings)?))
            }
        }
    }
}

fn read<T: DeserializeOwned, E: Error>(settings: Map<String, Value>) -> Result<T, E> {
    serde_json::from_value(Value::Object(settings)).map_err(E::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_survives_its_recipe_and_what_is_left_out_is_as_published() {
        for family in FAMILIES {
            let text = format!(r#"{{"family": "{}", "rows": 256, "stages": 2}}"#, family.name);
            let read: Architecture = serde_json::from_str(&text).unwrap();
            assert_eq!(read.input(), [1, 256, 224]);
            let again = serde_json::to_string(&read).unwrap();
            assert!(
                again.starts_with(&format!(r#"{{"family":"{}","channels":1"#, family.name)),
                "{again}"
            );
            assert_eq!(serde_json::from_str::<Architecture>(&again).unwrap(), read);
        }
        let text = serde_json::to_string(&Architecture::default()).unwrap();
        assert_eq!(
            serde_json::from_str::<Architecture>(&text).unwrap(),
            Architecture::default()
        );
    }

    #[test]
    fn what_is_no_network_is_refused_with_what_would_be_one() {
        let problem = |text: &str| match serde_json::from_str::<Architecture>(text) {
            Ok(architecture) => architecture.graph("image", 2).unwrap_err().to_string(),
            Err(error) => error.to_string(),
        };
        for (text, named) in [
            (
                r#"{"family": "resnet"}"#,
                "family must be one of residual, resnet18, ",
            ),
            (r#"{"rows": 8}"#, "family must be one of residual, resnet18, "),
            (
                r#"{"family": "resnet18", "row": 8}"#,
                "unknown field `row`, expected one of `channels`",
            ),
            (
                r#"{"family": "resnet18", "stages": 5}"#,
                "stages: 5; resnet18 has stages 1 to 4",
            ),
            (
                r#"{"family": "resnet18", "hidden": 8}"#,
                "hidden: these stages of resnet18 have none",
            ),
            (
                r#"{"family": "vgg16", "hidden": 8, "stages": 5}"#,
                "hidden: these stages of vgg16 have none",
            ),
            (
                r#"{"family": "resnet18", "stochastic_depth": 0.1}"#,
                "stochastic_depth: resnet18 has none; leave it out",
            ),
            (
                r#"{"family": "vgg16", "rows": 64}"#,
                "node `classifier.0` (convolution): a kernel of 7 with stride 1 does not fit 2 padded pixels",
            ),
        ] {
            assert!(problem(text).contains(named), "{text}: {}", problem(text));
        }
    }
}
