//! A recipe of augmentation in words, and what is left of it without one of its settings.

use super::{Augmentation, Change};

impl Augmentation {
    /// For each setting its name, as the recipe has it, and what it does; settings that are switched off say so.
    #[must_use]
    pub fn explain(&self) -> Vec<(&'static str, String)> {
        let Self {
            rotation,
            translation,
            scale,
            horizontal_flip,
            gamma,
            contrast,
            brightness,
            noise,
            cutout_probability,
            cutout_size,
            ..
        } = self;
        let percent = |share: &f32| format!("{} %", (share * 1e4).round() / 100.0);
        let texts = [
            (
                "rotation",
                format!("turned by up to {rotation} degrees either way, any angle as likely"),
            ),
            (
                "translation",
                format!(
                    "moved by up to {} of height and width, any way as likely",
                    percent(translation)
                ),
            ),
            (
                "scale",
                format!(
                    "magnified {} to {} times, even on the logarithm",
                    scale[0], scale[1]
                ),
            ),
            ("horizontal_flip", horizontal_flip.words()),
            (
                "gamma",
                format!(
                    "grey values to the power of {} to {}: above 1 darkens",
                    gamma[0], gamma[1]
                ),
            ),
            (
                "contrast",
                format!("distance from mid-grey times {} to {}", contrast[0], contrast[1]),
            ),
            (
                "brightness",
                format!(
                    "all values shifted by up to {} of white either way",
                    percent(brightness)
                ),
            ),
            (
                "noise",
                format!(
                    "grain of a standard deviation of up to {} of white",
                    percent(noise)
                ),
            ),
            (
                "cutout",
                format!(
                    "in {} of the images a rectangle of up to {} of height and width blanked with the mean",
                    percent(cutout_probability),
                    percent(cutout_size)
                ),
            ),
        ];
        texts
            .into_iter()
            .map(|(name, text)| match self.without(name) {
                Some(_) => (name, text),
                None => (name, "off".to_owned()),
            })
            .collect()
    }

    /// The recipe with the setting `name` switched off; none where it is off already, or there is none of that name.
    #[must_use]
    pub fn without(&self, name: &str) -> Option<Self> {
        let mut without = self.clone();
        let none = Self::none();
        match name {
            "rotation" => without.rotation = none.rotation,
            "translation" => without.translation = none.translation,
            "scale" => without.scale = none.scale,
            "horizontal_flip" => without.horizontal_flip = none.horizontal_flip,
            "gamma" => without.gamma = none.gamma,
            "contrast" => without.contrast = none.contrast,
            "brightness" => without.brightness = none.brightness,
            "noise" => without.noise = none.noise,
            "cutout" => without.cutout_probability = none.cutout_probability,
            _ => return None,
        }
        (without != *self).then_some(without)
    }
}

impl Change {
    /// In words: geometry, then grey values, in short lines.
    #[must_use]
    pub fn words(&self) -> [String; 4] {
        let flip = if self.flip { " flip" } else { "" };
        let percent = |share: f32| (share * 100.0).round() as i32;
        [
            format!("turn {:+.1} zoom {:.2}{flip}", self.rotation, self.scale),
            format!("move {:+},{:+}%", percent(self.right), percent(self.down)),
            format!("gamma {:.2} contrast {:.2}", self.gamma, self.contrast),
            format!(
                "light {:+}% noise {:.1}%",
                percent(self.brightness),
                self.noise * 100.0
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::Flip;
    use super::*;

    #[test]
    fn every_setting_is_named_and_can_be_switched_off() {
        let recipe = Augmentation {
            horizontal_flip: Flip::Every(true),
            ..Augmentation::default()
        };
        let explained = recipe.explain();
        assert_eq!(explained.len(), 9);
        assert_eq!(
            explained[1].1,
            "moved by up to 5 % of height and width, any way as likely"
        );
        let mut rest = recipe;
        for (name, _) in &explained {
            rest = rest.without(name).unwrap();
            assert_eq!(rest.without(name), None);
        }
        assert_eq!(
            Augmentation {
                cutout_size: 0.0,
                ..rest.clone()
            },
            Augmentation::none()
        );
        assert!(rest.explain().iter().all(|(_, text)| text == "off"));
        assert_eq!(rest.without("elastic"), None);
    }
}
