//! The lead side marker: an L or an R in a corner of the field.
//!
//! Invariants: letter, corner, size and presence are independent of the patient, the labels and the direction the patient faces.

use super::geometry::{Affine, Point, Pose};
use super::plane::Plane;
use super::rod::Rod;
use super::sampling::Dice;

/// Attenuation of the lead, per mm.
const LEAD: f32 = 1.2;

/// A letter of lead on the detector.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Marker {
    pub(super) right: bool,
    pose: Pose,
    height: f32,
    stroke: f32,
    thickness: f32,
}

impl Marker {
    /// A marker within the field whose half extents, mm, are given; sometimes none.
    pub(super) fn draw(dice: &mut Dice, half_width: f32, half_height: f32) -> Option<Self> {
        let present = dice.chance(0.9);
        let [left, top] = [dice.chance(0.5), dice.chance(0.5)].map(|low| if low { -1.0 } else { 1.0 });
        let inset = [dice.between(13.0, 24.0), dice.between(13.0, 26.0)];
        let marker = Self {
            right: dice.chance(0.5),
            pose: Pose {
                centre: Point::new(left * (half_width - inset[0]), top * (half_height - inset[1])),
                angle: dice.normal(0.0, 0.08),
            },
            height: dice.between(8.0, 13.0),
            stroke: dice.between(0.7, 1.2),
            thickness: dice.between(0.8, 2.0),
        };
        present.then_some(marker)
    }

    /// Adds the marker; `detector` maps pixels to mm on the detector.
    pub(super) fn paint(&self, plane: &mut Plane, detector: Affine) {
        let frame = detector.into_frame(self.pose);
        let corner = |(x, y): (f32, f32)| Point::new((x - 0.3) * self.height, (y - 0.5) * self.height);
        let outline: &[(f32, f32)] = if self.right {
            &[
                (0.0, 1.0),
                (0.0, 0.0),
                (0.38, 0.0),
                (0.56, 0.12),
                (0.56, 0.38),
                (0.38, 0.5),
                (0.0, 0.5),
                (0.25, 0.5),
                (0.6, 1.0),
            ]
        } else {
            &[(0.0, 0.0), (0.0, 1.0), (0.58, 1.0)]
        };
        let strokes: Vec<Rod> = outline
            .windows(2)
            .map(|pair| {
                Rod::solid(
                    corner(pair[0]),
                    corner(pair[1]),
                    self.stroke,
                    self.thickness,
                    LEAD,
                )
            })
            .collect();
        Rod::paint_joined(&strokes, plane, frame);
    }
}
