//! One vertebral body, and which of the spine's it is.

use super::geometry::{Point, Pose, Quadratic};

/// T11 to L5.
pub(super) const BODIES: usize = 7;
/// Index of L1; L2 and L3 follow.
pub(super) const FIRST_LUMBAR: usize = 2;

/// Anterior, middle and posterior height, mm.
pub(super) type Heights = [f32; 3];

/// One vertebral body in its own frame: x backwards from the middle, y downwards from the middle.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Body {
    pub(super) pose: Pose,
    /// Heights that the body would have had unbroken.
    pub(super) expected: Heights,
    pub(super) heights: Heights,
    pub(super) half_depth: f32,
    /// Extent along the beam.
    pub(super) width: f32,
    pub(super) upper: Quadratic,
    pub(super) lower: Quadratic,
    /// How much of the endplates' curvature their side rims share, `0..=1`: the rest shows as a double contour.
    pub(super) rim_share: f32,
    /// Blur of the endplates by the body's tilt against the beam, mm.
    pub(super) endplate_spread: f32,
    /// Depth of the waist in front, and behind.
    pub(super) waists: [f32; 2],
    /// Length of the osteophytes at the front upper and front lower corner, mm; 0 for none.
    pub(super) osteophytes: [f32; 2],
    /// Length, droop and girth of the posterior elements over the reference: around 1, 0 and 1.
    pub(super) arch: [f32; 3],
    /// Density of this body over that of the spine, around 1.
    pub(super) relative_density: f32,
    /// Extra density of the compacted zone below a broken upper endplate, relative.
    pub(super) compaction: f32,
}

impl Body {
    /// The two ends of the upper endplate (`false`) or the lower one (`true`), front first, in the body's frame.
    pub(super) fn corners(&self, lower: bool) -> [Point; 2] {
        let endplate = if lower { self.lower } else { self.upper };
        [-self.half_depth, self.half_depth].map(|x| Point::new(x, endplate.at(x)))
    }
}
