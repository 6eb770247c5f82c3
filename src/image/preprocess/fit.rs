//! How the field of an image is brought to the size of the network's input: which part, resized to what, where it lies.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{MAX_SIDE, Preprocessing};
use crate::image::border::Rectangle;

/// What happens to the aspect ratio when an image is brought to the input size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Kept; what is left over is black, half on either side.
    Pad,
    /// Not kept.
    Stretch,
    /// Kept: the shorter side becomes `shorter_side`, then the middle is cut out, as torchvision's `Resize` and `CenterCrop`.
    Crop,
    /// Kept: the largest square in the middle is cut out, then resized, as `TorchXRayVision`'s `XRayCenterCrop` and `XRayResizer`.
    SquareCrop,
}

/// The way of an image into the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The part of the stored image that is resized.
    pub(super) field: Rectangle,
    /// Its rows and columns then.
    pub(super) resized: [usize; 2],
    /// The part of the resized field that is kept.
    pub(super) kept: Rectangle,
    /// Where that lies in the input; as large as `kept`.
    pub(super) target: Rectangle,
}

impl Place {
    /// The part of the stored image that is seen in the input: of a pixel that is cut through, all.
    pub(super) fn seen(&self) -> Rectangle {
        let Self {
            field,
            resized: [rows, columns],
            kept,
            ..
        } = *self;
        let along = |kept: usize, count: usize, field: usize, resized: usize| {
            let first = kept * field / resized;
            (first, ((kept + count) * field).div_ceil(resized) - first)
        };
        let (top, rows) = along(kept.top, kept.rows, field.rows, rows);
        let (left, columns) = along(kept.left, kept.columns, field.columns, columns);
        Rectangle {
            top: field.top + top,
            left: field.left + left,
            rows,
            columns,
        }
    }
}

impl Preprocessing {
    /// Checks what belongs to the fit.
    pub(super) fn check_fit(&self) -> Result<(), &'static str> {
        match (self.fit, self.shorter_side) {
            (Fit::Crop, Some(side)) if side >= self.rows.max(self.columns) && side <= 2 * MAX_SIDE => Ok(()),
            (Fit::Crop, _) => Err(
                "fit crop needs shorter_side, at least as long as rows and columns, of which it is to hold the middle",
            ),
            (_, Some(_)) => Err("shorter_side goes with fit crop only"),
            (Fit::SquareCrop, None) if self.rows != self.columns => {
                Err("fit square-crop needs as many rows as columns")
            }
            _ => Ok(()),
        }
    }

    /// The way of a field of this shape into the input.
    pub(super) fn place(&self, field: Rectangle) -> Place {
        let whole = at(0, 0, self.rows, self.columns);
        let stretched = |field| Place {
            field,
            resized: [self.rows, self.columns],
            kept: whole,
            target: whole,
        };
        match self.fit {
            Fit::Stretch => stretched(field),
            Fit::Pad => {
                let scale =
                    (self.rows as f64 / field.rows as f64).min(self.columns as f64 / field.columns as f64);
                let rows = ((field.rows as f64 * scale).round() as usize).clamp(1, self.rows);
                let columns = ((field.columns as f64 * scale).round() as usize).clamp(1, self.columns);
                Place {
                    field,
                    resized: [rows, columns],
                    kept: at(0, 0, rows, columns),
                    target: at(
                        (self.rows - rows) / 2,
                        (self.columns - columns) / 2,
                        rows,
                        columns,
                    ),
                }
            }
            Fit::Crop => {
                let shortest = field.rows.min(field.columns);
                // a contract that was not checked must not make this panic
                let side = self.shorter_side.unwrap_or(0).max(self.rows).max(self.columns);
                let [rows, columns] = [field.rows, field.columns].map(|length| side * length / shortest);
                Place {
                    field,
                    resized: [rows, columns],
                    kept: at(
                        half_to_even(rows - self.rows),
                        half_to_even(columns - self.columns),
                        self.rows,
                        self.columns,
                    ),
                    target: whole,
                }
            }
            Fit::SquareCrop => {
                let side = field.rows.min(field.columns);
                let middle = |length: usize| length / 2 - side / 2;
                stretched(at(
                    field.top + middle(field.rows),
                    field.left + middle(field.columns),
                    side,
                    side,
                ))
            }
        }
    }
}

fn at(top: usize, left: usize, rows: usize, columns: usize) -> Rectangle {
    Rectangle {
        top,
        left,
        rows,
        columns,
    }
}

/// Half of a number, rounded as Python's `round` does.
fn half_to_even(number: usize) -> usize {
    let half = number / 2;
    half + (number % 2) * (half % 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn square(fit: Fit, side: usize, shorter_side: Option<usize>) -> Preprocessing {
        Preprocessing {
            fit,
            shorter_side,
            ..Preprocessing::grey(side, side)
        }
    }

    /// torchvision 0.26.0: `Resize(256)` makes 370 x 255 to 371 x 256, and `CenterCrop(224)` begins at `round(73.5)` = 74.
    #[test]
    fn the_middle_of_what_was_resized() {
        let place = square(Fit::Crop, 224, Some(256)).place(at(0, 0, 370, 255));
        assert_eq!(place.resized, [371, 256]);
        assert_eq!(place.kept, at(74, 16, 224, 224));
        assert_eq!(place.seen(), at(73, 15, 225, 225));
        assert_eq!(place.target, at(0, 0, 224, 224));
        assert_eq!([1, 3, 5, 7].map(half_to_even), [0, 2, 2, 4]);
    }

    #[test]
    fn the_square_in_the_middle() {
        let place = square(Fit::SquareCrop, 64, None).place(at(2, 3, 100, 81));
        assert_eq!(place.field, at(2 + 10, 3, 81, 81));
        assert_eq!(place.resized, [64, 64]);
        assert_eq!(place.seen(), place.field);
    }

    #[test]
    fn a_fit_that_cannot_be_is_named() {
        assert!(square(Fit::Crop, 64, Some(64)).check().is_ok());
        for (fit, shorter_side, named) in [
            (Fit::Crop, None, "shorter_side"),
            (Fit::Crop, Some(63), "shorter_side"),
            (Fit::Pad, Some(80), "fit crop only"),
        ] {
            let error = square(fit, 64, shorter_side).check().unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let oblong = Preprocessing {
            rows: 63,
            ..square(Fit::SquareCrop, 64, None)
        };
        assert!(oblong.check().unwrap_err().to_string().contains("square-crop"));
    }
}
