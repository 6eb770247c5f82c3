//! How families of networks from elsewhere want their images: each a preprocessing contract, with what it assumes.
//!
//! A family's own code is the source of each number. What the family leaves to its users is an assumption, and is said.

use super::manifest::Activation;
use crate::image::preprocess::{CONTRACT_VERSION, Filter, Fit, Layout, Preprocessing, VoiRule};

/// A family of networks and how it prepares an image.
#[derive(Debug)]
pub struct Recipe {
    /// What it is called on the command line.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// What has to be true of the network for the recipe to fit it.
    pub assumptions: &'static [&'static str],
    /// Where the numbers come from.
    pub source: &'static str,
    /// The side of the input where neither the network nor its user says.
    pub size: usize,
    /// The part of the shorter side that the input shows, for the fit `crop`.
    pub crop_pct: Option<f64>,
    /// Where the part of the grey scale that is of interest comes from.
    pub voi: VoiRule,
    /// What happens to the aspect ratio.
    pub fit: Fit,
    /// The resampling filter.
    pub filter: Filter,
    /// What black and white become.
    pub range: [f32; 2],
    /// Subtracted, one for each channel.
    pub mean: &'static [f32],
    /// Divided by, one for each channel.
    pub std: &'static [f32],
    /// How many channels a network of the family may take.
    pub channels: &'static [usize],
    /// Order of the dimensions.
    pub layout: Layout,
    /// What turns the network's numbers into probabilities, where the family has one answer to that.
    pub activation: Option<Activation>,
}

const IMAGENET_MEAN: &[f32] = &[0.485, 0.456, 0.406];
const IMAGENET_STD: &[f32] = &[0.229, 0.224, 0.225];

/// Every recipe.
pub static RECIPES: [Recipe; 5] = [
    Recipe {
        name: "torchvision",
        summary: "shorter side to size / 0.875, centre crop, ImageNet mean and standard deviation, 3 channels",
        assumptions: &[
            "the grey image under the file's window is the network's picture, repeated in 3 channels",
            "resized as the antialiased bilinear Resize does",
        ],
        source: "torchvision 0.26.0, transforms/_presets.py: ImageClassification",
        size: 224,
        crop_pct: Some(0.875),
        voi: VoiRule::FileOrPercentiles,
        fit: Fit::Crop,
        filter: Filter::Bilinear,
        range: [0.0, 1.0],
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
        channels: &[3],
        layout: Layout::Nchw,
        activation: None,
    },
    Recipe {
        name: "timm",
        summary: "shorter side to size / crop_pct (0.875 unless given), bicubic, centre crop, ImageNet mean and standard deviation, 3 channels",
        assumptions: &[
            "the grey image under the file's window is the network's picture, repeated in 3 channels",
            "the model's default_cfg has bicubic interpolation, crop_mode center and ImageNet's mean and std; give its crop_pct",
        ],
        source: "timm 1.0.31, data/transforms_factory.py: transforms_imagenet_eval",
        size: 224,
        crop_pct: Some(0.875),
        voi: VoiRule::FileOrPercentiles,
        fit: Fit::Crop,
        filter: Filter::Bicubic,
        range: [0.0, 1.0],
        mean: IMAGENET_MEAN,
        std: IMAGENET_STD,
        channels: &[3],
        layout: Layout::Nchw,
        activation: None,
    },
    Recipe {
        name: "torchxrayvision",
        summary: "centre square, resized by scikit-image, all stored bits to -1024 .. 1024, 1 channel",
        assumptions: &[
            "the image was read as read_xray_dcm reads it: no window, MONOCHROME1 inverted",
            "exported with apply_sigmoid=True and op_threshs=None: op_norm cannot be exported; its operating points are thresholds, for --labels",
        ],
        source: "TorchXRayVision 1.5.7, datasets.py: XRayCenterCrop, XRayResizer; utils.py: normalize",
        size: 224,
        crop_pct: None,
        voi: VoiRule::FullRange,
        fit: Fit::SquareCrop,
        filter: Filter::Gaussian,
        range: [-1024.0, 1024.0],
        mean: &[0.0],
        std: &[1.0],
        channels: &[1],
        layout: Layout::Nchw,
        activation: Some(Activation::None),
    },
    Recipe {
        name: "monai",
        summary: "lowest to highest value to 0 .. 1, stretched by area, columns before rows, 1 or 3 channels",
        assumptions: &[
            "LoadImage (columns first), EnsureChannelFirst, ScaleIntensity, Resize in its default mode area, in this order",
            "MONOCHROME1 was inverted in training; MONAI itself does not",
        ],
        source: "MONAI 1.6.1, transforms/intensity/array.py: ScaleIntensity; transforms/spatial/array.py: Resize",
        size: 224,
        crop_pct: None,
        voi: VoiRule::Percentiles,
        fit: Fit::Stretch,
        filter: Filter::Area,
        range: [0.0, 1.0],
        mean: &[0.0; 3],
        std: &[1.0; 3],
        channels: &[1, 3],
        layout: Layout::Ncwh,
        activation: None,
    },
    Recipe {
        name: "keras",
        summary: "stretched by bilinear interpolation without antialiasing, -1 .. 1, rows x columns x channels, 1 or 3 channels",
        assumptions: &[
            "keras.layers.Resizing or image_dataset_from_directory made the size; preprocess_input in its mode tf the range",
            "the network ends with its own sigmoid or softmax",
        ],
        source: "Keras 3, src/applications/imagenet_utils.py: preprocess_input, mode tf; src/layers/preprocessing: Resizing",
        size: 224,
        crop_pct: None,
        voi: VoiRule::FileOrPercentiles,
        fit: Fit::Stretch,
        filter: Filter::Linear,
        range: [-1.0, 1.0],
        mean: &[0.0; 3],
        std: &[1.0; 3],
        channels: &[1, 3],
        layout: Layout::Nhwc,
        activation: Some(Activation::None),
    },
];

impl Recipe {
    /// The recipe of this name.
    ///
    /// # Errors
    /// A sentence that names them all.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        RECIPES.iter().find(|recipe| recipe.name == name).ok_or_else(|| {
            let names: Vec<_> = RECIPES.iter().map(|recipe| recipe.name).collect();
            format!(
                "there is no recipe {name:?}: the recipes are {}",
                names.join(", ")
            )
        })
    }

    /// The contract for an input of these sides and channels, whose name is `tensor`.
    ///
    /// # Errors
    /// A sentence that says what does not fit.
    pub fn contract(
        &self,
        [rows, columns]: [usize; 2],
        channels: usize,
        crop_pct: Option<f64>,
        tensor: &str,
    ) -> Result<Preprocessing, String> {
        if !self.channels.contains(&channels) {
            let takes: Vec<_> = self.channels.iter().map(usize::to_string).collect();
            return Err(format!(
                "the recipe {} is for networks of {} channels, and this network takes {channels}: choose another recipe, or export the network with that many",
                self.name,
                takes.join(" or ")
            ));
        }
        if crop_pct.is_some() && self.crop_pct.is_none() {
            return Err(format!(
                "the recipe {} crops nothing by a percentage: leave --crop-pct out",
                self.name
            ));
        }
        let crop_pct = crop_pct.or(self.crop_pct);
        if crop_pct.is_some_and(|part| part.is_nan() || part <= 0.1 || part > 1.0) {
            return Err(
                "the crop percentage is a part of 1, above 0.1 and at most 1, such as 0.875".to_owned(),
            );
        }
        let contract = Preprocessing {
            version: CONTRACT_VERSION,
            voi: self.voi,
            // for rules that use them: MONAI scales from the lowest to the highest value, the others have no rule of their own
            percentiles: if self.voi == VoiRule::Percentiles {
                [0.0, 100.0]
            } else {
                [0.5, 99.5]
            },
            crop_border: false,
            rows,
            columns,
            fit: self.fit,
            // timm's own: floor(size / crop_pct)
            shorter_side: crop_pct.map(|part| (rows.max(columns) as f64 / part).floor() as usize),
            filter: self.filter,
            channels,
            range: self.range,
            mean: self.mean.iter().copied().take(channels).collect(),
            std: self.std.iter().copied().take(channels).collect(),
            tensor: tensor.to_owned(),
            layout: self.layout,
            reduced_resolution: None,
        };
        contract.check().map_err(|error| error.to_string())?;
        Ok(contract)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_recipe_makes_a_contract_for_each_number_of_channels() {
        for recipe in &RECIPES {
            for &channels in recipe.channels {
                let size = recipe.size;
                recipe.contract([size, size], channels, None, "input").unwrap();
            }
            let error = recipe.contract([224, 224], 2, None, "input").unwrap_err();
            assert!(error.contains(recipe.name), "{error}");
        }
    }

    #[test]
    fn the_shorter_side_follows_the_crop_percentage() {
        let side = |size, part| {
            let recipe = Recipe::named("timm").unwrap();
            recipe
                .contract([size, size], 3, part, "x")
                .map(|contract| contract.shorter_side)
        };
        assert_eq!(side(224, None), Ok(Some(256)));
        assert_eq!(side(224, Some(0.95)), Ok(Some(235)));
        assert!(side(224, Some(95.0)).is_err());
    }

    #[test]
    fn an_unknown_recipe_names_the_known() {
        let error = Recipe::named("pytorch").unwrap_err();
        assert!(
            RECIPES.iter().all(|recipe| error.contains(recipe.name)),
            "{error}"
        );
    }
}
