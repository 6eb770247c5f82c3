//! Points, poses and quadratics in the plane of the detector.
//!
//! Invariants: lengths are millimetres, angles radians. In the patient's frame x grows towards the back and y towards the feet;
//! mirroring and rotation happen only in [`Affine::pixels_to_patient`].

/// A point or a displacement.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Point {
    pub(super) x: f32,
    pub(super) y: f32,
}

impl Point {
    pub(super) const fn new(x: f32, y: f32) -> Self {
        Self { x, y }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self::new(self.x + other.x, self.y + other.y)
    }

    pub(super) fn minus(self, other: Self) -> Self {
        Self::new(self.x - other.x, self.y - other.y)
    }

    pub(super) fn toward(self, other: Self, share: f32) -> Self {
        Self::new(
            self.x + (other.x - self.x) * share,
            self.y + (other.y - self.y) * share,
        )
    }

    pub(super) fn rotated(self, angle: f32) -> Self {
        let (sine, cosine) = angle.sin_cos();
        Self::new(cosine * self.x - sine * self.y, sine * self.x + cosine * self.y)
    }

    /// The angle of the direction from the origin to this point.
    pub(super) fn angle(self) -> f32 {
        self.y.atan2(self.x)
    }
}

/// Where a rigid part lies in the patient's frame.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pose {
    pub(super) centre: Point,
    /// Positive turns the front of a part towards the head.
    pub(super) angle: f32,
}

impl Pose {
    /// The patient's position of a point given in the part's own frame.
    pub(super) fn place(self, local: Point) -> Point {
        local.rotated(self.angle).plus(self.centre)
    }
}

/// An axis-aligned rectangle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) low: Point,
    pub(super) high: Point,
}

impl Bounds {
    pub(super) const fn new(low: Point, high: Point) -> Self {
        Self { low, high }
    }

    #[inline]
    pub(super) fn holds(self, x: f32, y: f32) -> bool {
        x >= self.low.x && x <= self.high.x && y >= self.low.y && y <= self.high.y
    }

    /// The smallest rectangle around both.
    pub(super) fn union(self, other: Self) -> Self {
        Self::new(
            Point::new(self.low.x.min(other.low.x), self.low.y.min(other.low.y)),
            Point::new(self.high.x.max(other.high.x), self.high.y.max(other.high.y)),
        )
    }

    fn corners(self) -> [Point; 4] {
        let (low, high) = (self.low, self.high);
        [low, high, Point::new(low.x, high.y), Point::new(high.x, low.y)]
    }
}

/// The curve `y = constant + linear * x + square * x * x`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quadratic {
    constant: f32,
    linear: f32,
    square: f32,
}

impl Quadratic {
    /// Through `front` at `-half_depth`, `middle` at 0 and `back` at `half_depth`.
    pub(super) fn through(half_depth: f32, front: f32, middle: f32, back: f32) -> Self {
        Self {
            constant: middle,
            linear: (back - front) / (2.0 * half_depth),
            square: (f32::midpoint(front, back) - middle) / (half_depth * half_depth),
        }
    }

    #[inline]
    pub(super) fn at(self, x: f32) -> f32 {
        self.constant + x * (self.linear + x * self.square)
    }
}

/// An affine map of the plane.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Affine {
    pub(super) x_by_column: f32,
    pub(super) x_by_row: f32,
    pub(super) x_offset: f32,
    pub(super) y_by_column: f32,
    pub(super) y_by_row: f32,
    pub(super) y_offset: f32,
}

impl Affine {
    /// From pixel centres (x the column, y the row) to millimetres from the middle of the detector.
    pub(super) fn pixels_to_detector(rows: u16, columns: u16, spacing: f32) -> Self {
        Self {
            x_by_column: spacing,
            x_by_row: 0.0,
            x_offset: (0.5 - f32::from(columns) / 2.0) * spacing,
            y_by_column: 0.0,
            y_by_row: spacing,
            y_offset: (0.5 - f32::from(rows) / 2.0) * spacing,
        }
    }

    /// The same, then mirrored where the patient faces right, and into the frame of `pose`.
    pub(super) fn pixels_to_patient(detector: Self, facing_left: bool, pose: Pose) -> Self {
        let mirrored = if facing_left {
            detector
        } else {
            Self {
                x_by_column: -detector.x_by_column,
                x_offset: -detector.x_offset,
                ..detector
            }
        };
        mirrored.into_frame(pose)
    }

    /// This map followed by the change to the frame of `pose`.
    pub(super) fn into_frame(self, pose: Pose) -> Self {
        let (sine, cosine) = pose.angle.sin_cos();
        let (x_offset, y_offset) = (self.x_offset - pose.centre.x, self.y_offset - pose.centre.y);
        Self {
            x_by_column: cosine * self.x_by_column + sine * self.y_by_column,
            x_by_row: cosine * self.x_by_row + sine * self.y_by_row,
            x_offset: cosine * x_offset + sine * y_offset,
            y_by_column: cosine * self.y_by_column - sine * self.x_by_column,
            y_by_row: cosine * self.y_by_row - sine * self.x_by_row,
            y_offset: cosine * y_offset - sine * x_offset,
        }
    }

    #[inline]
    pub(super) fn apply(self, at: Point) -> Point {
        Point::new(
            self.x_by_column * at.x + self.x_by_row * at.y + self.x_offset,
            self.y_by_column * at.x + self.y_by_row * at.y + self.y_offset,
        )
    }

    /// The point that this map sends to `to`. The maps built here are similarities, so the determinant is never zero.
    pub(super) fn invert(self, to: Point) -> Point {
        let determinant = self.x_by_column * self.y_by_row - self.x_by_row * self.y_by_column;
        let (x, y) = (to.x - self.x_offset, to.y - self.y_offset);
        Point::new(
            (self.y_by_row * x - self.x_by_row * y) / determinant,
            (self.x_by_column * y - self.y_by_column * x) / determinant,
        )
    }

    /// The smallest rectangle whose image covers `bounds`.
    pub(super) fn invert_bounds(self, bounds: Bounds) -> Bounds {
        let corners = bounds.corners().map(|corner| self.invert(corner));
        let fold = |pick: fn(f32, f32) -> f32| {
            corners
                .into_iter()
                .reduce(|one, other| Point::new(pick(one.x, other.x), pick(one.y, other.y)))
        };
        Bounds::new(
            fold(f32::min).unwrap_or_default(),
            fold(f32::max).unwrap_or_default(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_affine_map_inverts_and_agrees_with_its_pose() {
        let pose = Pose {
            centre: Point::new(7.0, -3.0),
            angle: 0.2,
        };
        let map = Affine::pixels_to_patient(Affine::pixels_to_detector(64, 48, 2.5), false, pose);
        let pixel = Point::new(11.0, 40.0);
        let there = map.apply(pixel);
        let back = map.invert(there);
        assert!(
            (back.x - pixel.x).abs() < 1e-3 && (back.y - pixel.y).abs() < 1e-3,
            "{back:?}"
        );
        let placed = pose.place(there);
        assert!(
            (placed.x + (11.5 - 24.0) * 2.5).abs() < 1e-3 && (placed.y - (40.5 - 32.0) * 2.5).abs() < 1e-3,
            "{placed:?}"
        );
    }

    #[test]
    fn a_quadratic_meets_its_three_points() {
        let curve = Quadratic::through(17.0, 1.0, 4.0, 2.0);
        for (x, y) in [(-17.0, 1.0), (0.0, 4.0), (17.0, 2.0)] {
            assert!((curve.at(x) - y).abs() < 1e-4);
        }
    }
}
