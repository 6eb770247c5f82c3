//! How a phantom was exposed: positioning, collimation, quanta, and the scanner's processing.
//!
//! Invariants: every number here is a nuisance, drawn without looking at any label; what belongs to a scanner is the same for all
//! of its images, what belongs to an exposure differs in each.

use super::geometry::{Point, Pose};
use super::marker::Marker;
use super::sampling::{Dice, Stream};
use super::truth::{EXTERNAL_SITE, Truth};

/// Height of the field on the detector, mm, before the exposure's own variation of 4%.
const FIELD_HEIGHT: f32 = 165.0;

/// The settings of one exposure and of the scanner that made it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Acquisition {
    /// Side of a pixel on the detector, mm.
    pub(super) spacing: f32,
    /// Where the patient's origin, the middle of L2, lies on the detector before mirroring, and how the patient is turned.
    pub(super) pose: Pose,
    /// Quanta per mm2 behind tissue of average attenuation.
    pub(super) quanta: f32,
    /// Scattered over primary radiation behind the grid.
    pub(super) scatter: f32,
    /// Deviation of the detector's blur, mm.
    pub(super) blur: f32,
    /// Share of the large-scale contrast that processing takes away.
    pub(super) flattening: f32,
    /// Share of the fine contrast that processing adds.
    pub(super) sharpening: f32,
    /// Exponent applied to the windowed image.
    pub(super) gamma: f32,
    /// How far the window reaches beyond the darkest and the brightest parts, as shares of its width.
    pub(super) window_margins: [f32; 2],
    pub(super) collimation: Collimation,
    pub(super) marker: Option<Marker>,
}

/// The shutters around the field.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Collimation {
    /// Distances of the four edges from the middle, mm: left, right, top, bottom. Edges beyond the detector do not show.
    pub(super) edges: [f32; 4],
    /// Turn of the shutters against the detector, radians.
    pub(super) angle: f32,
    /// Width over which the field fades, mm.
    pub(super) penumbra: f32,
    /// Display value behind the shutters, `0.0..=1.0`: dark where a viewer's shutter was applied, bright where not.
    pub(super) value: f32,
    /// Noise of that value.
    pub(super) noise: f32,
}

impl Acquisition {
    pub(super) fn new(seed: u64, view: u32, truth: &Truth, rows: u16, columns: u16) -> Self {
        let dice = &mut Dice::new(seed, Stream::Acquisition, view);
        // A scanner's settings come from its own number: the same for all of its images in every archive.
        let scanner = &mut Dice::new(u64::from(truth.scanner), Stream::Acquisition, u32::MAX);
        let external = truth.site == EXTERNAL_SITE;
        let spacing = FIELD_HEIGHT * dice.between(0.96, 1.04) / f32::from(rows.max(1));
        let half_width = f32::from(columns) * spacing / 2.0;
        let half_height = f32::from(rows) * spacing / 2.0;
        let collimation = Collimation::draw(dice, half_width, half_height);
        let [left, right, top, bottom] = collimation.edges;
        let marker = Marker::draw(
            dice,
            left.min(right).min(half_width),
            top.min(bottom).min(half_height),
        );
        let flattening = scanner.between(0.30, 0.50);
        let sharpening = scanner.between(0.2, 0.7);
        let scanner_gamma = scanner.between(0.90, 1.12);
        let scanner_blur = scanner.between(0.12, 0.24);
        let gamma = scanner_gamma * dice.between(0.92, 1.09);
        let quanta = 5_000.0 * (dice.between(0.0, 2.0)).exp();
        let blur = scanner_blur + dice.between(0.0, 0.14);
        Self {
            spacing,
            pose: Pose {
                // The bodies lie in front of the field's middle, so that the spinous processes show.
                centre: Point::new(
                    dice.normal(-8.0, 5.0).clamp(-20.0, 4.0),
                    dice.normal(-1.0, 4.0).clamp(-9.0, 8.0),
                ),
                angle: dice.within(8.0_f32.to_radians()),
            },
            quanta: if external { quanta * 0.35 } else { quanta },
            scatter: dice.between(0.25, 0.9),
            blur: if external { blur + 0.15 } else { blur },
            flattening,
            sharpening,
            gamma: if external { gamma * 1.45 } else { gamma },
            window_margins: [dice.between(-0.02, 0.12), dice.between(-0.01, 0.10)],
            collimation,
            marker,
        }
    }
}

impl Collimation {
    fn draw(dice: &mut Dice, half_width: f32, half_height: f32) -> Self {
        let mut edge = |half: f32, most: f32| {
            let inset = dice.between(1.0, most);
            if dice.chance(0.55) {
                half - inset
            } else {
                half + 30.0
            }
        };
        let edges = [
            edge(half_width, 13.0),
            edge(half_width, 13.0),
            edge(half_height, 10.0),
            edge(half_height, 10.0),
        ];
        let dark = dice.chance(0.6);
        Self {
            edges,
            angle: dice.normal(0.0, 0.008),
            penumbra: dice.between(0.4, 2.2),
            value: if dark {
                dice.between(0.0, 0.06)
            } else {
                dice.between(0.90, 1.0)
            },
            noise: dice.between(0.001, 0.006),
        }
    }

    /// The share of the field's light at a place on the detector, 0 behind the shutters.
    pub(super) fn openness(&self, at: Point) -> f32 {
        let at = at.rotated(-self.angle);
        let [left, right, top, bottom] = self.edges;
        let inside = (at.x + left).min(right - at.x).min(at.y + top).min(bottom - at.y);
        super::texture::ramp(inside, -self.penumbra / 2.0, self.penumbra / 2.0)
    }
}
