//! Tapered rods: the shape that processes, ribs, gas, calcifications and markers are made of.
//!
//! Invariants: attenuation is per millimetre along the beam, and negative where a rod displaces tissue (gas).

use super::geometry::{Affine, Bounds, Point};
use super::plane::Plane;

/// A solid swept by a disc that moves along a segment while its radius changes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rod {
    pub(super) from: Point,
    pub(super) to: Point,
    pub(super) from_radius: f32,
    pub(super) to_radius: f32,
    /// Length of the beam's path through the middle.
    pub(super) thickness: f32,
    /// Attenuation of the inside, per mm.
    pub(super) core: f32,
    /// Attenuation of the shell, per mm.
    pub(super) shell: f32,
    pub(super) shell_thickness: f32,
}

impl Rod {
    /// A rod without a shell.
    pub(super) fn solid(from: Point, to: Point, radius: f32, thickness: f32, attenuation: f32) -> Self {
        Self {
            from,
            to,
            from_radius: radius,
            to_radius: radius,
            thickness,
            core: attenuation,
            shell: attenuation,
            shell_thickness: 0.0,
        }
    }

    /// Adds the rod's line integrals to `plane`.
    pub(super) fn paint(&self, plane: &mut Plane, frame: Affine) {
        plane.paint(frame, self.bounds(), |x, y| {
            let (square, radius) = self.place(x, y);
            self.line_integral(square, radius)
        });
    }

    /// Adds rods that are one solid: each place belongs to the rod that it lies deepest in, so that only the common outline shows.
    pub(super) fn paint_joined(rods: &[Self], plane: &mut Plane, frame: Affine) {
        let Some(bounds) = rods.iter().map(Self::bounds).reduce(Bounds::union) else {
            return;
        };
        let reaches: Vec<(&Self, Bounds)> = rods.iter().map(|rod| (rod, rod.bounds())).collect();
        plane.paint(frame, bounds, |x, y| {
            let mut deepest = 1.0;
            let mut value = 0.0;
            for (rod, _) in reaches.iter().filter(|(_, reach)| reach.holds(x, y)) {
                let (square, radius) = rod.place(x, y);
                if square < deepest {
                    deepest = square;
                    value = rod.line_integral(square, radius);
                }
            }
            value
        });
    }

    fn bounds(&self) -> Bounds {
        let radius = self.from_radius.max(self.to_radius);
        Bounds::new(
            Point::new(
                self.from.x.min(self.to.x) - radius,
                self.from.y.min(self.to.y) - radius,
            ),
            Point::new(
                self.from.x.max(self.to.x) + radius,
                self.from.y.max(self.to.y) + radius,
            ),
        )
    }

    /// The squared distance from the axis as a share of the squared radius (1 at the surface), and the radius there.
    #[inline]
    fn place(&self, x: f32, y: f32) -> (f32, f32) {
        let along = self.to.minus(self.from);
        let (x, y) = (x - self.from.x, y - self.from.y);
        let length = (along.x * along.x + along.y * along.y).max(1e-6);
        let share = ((x * along.x + y * along.y) / length).clamp(0.0, 1.0);
        let (x, y) = (x - share * along.x, y - share * along.y);
        let radius = self.from_radius + (self.to_radius - self.from_radius) * share;
        ((x * x + y * y) / (radius * radius), radius)
    }

    #[inline]
    fn line_integral(&self, square: f32, radius: f32) -> f32 {
        if square >= 1.0 {
            return 0.0;
        }
        let outer = (1.0 - square).sqrt();
        let hollow = (radius - self.shell_thickness).max(0.05) / radius;
        let inner = (1.0 - square / (hollow * hollow)).max(0.0).sqrt() * hollow;
        self.thickness * (self.shell * (outer - inner) + self.core * inner)
    }
}
