//! Stored values and the grey-scale transformations that a file declares for them.
//!
//! The order is fixed by PS3.4 section N.2: modality LUT, then VOI LUT, then polarity last. Every stored value has at
//! most 16 bits, so the whole chain is one table with an entry for each of them; no pixel is ever computed in 8 bits.

use super::Codes;

/// One frame as a file holds it, with what the file says about showing it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredImage {
    /// Height in pixels, at least 1.
    pub rows: usize,
    /// Width in pixels, at least 1.
    pub columns: usize,
    /// Bits Stored (0028,0101), 1 to 16.
    pub bits_stored: u32,
    /// Pixel Representation (0028,0103) is 1: values are two's complement in `bits_stored` bits.
    pub signed: bool,
    /// `rows * columns` bit patterns, each below `2^bits_stored`, row-major.
    pub codes: Codes,
    /// What the file says about showing them.
    pub transform: GreyTransform,
}

/// Modality LUT, VOI LUT and polarity of one image.
#[derive(Clone, Debug, PartialEq)]
pub struct GreyTransform {
    /// Stored value to modality value.
    pub modality: Modality,
    /// Modality value to the part of the range that is of interest, if the file says.
    pub voi: Option<Voi>,
    /// The lowest value is white: MONOCHROME1, or Presentation LUT Shape (2050,0020) `INVERSE`, which for the images
    /// that have both states the same inversion (PS3.3 section C.8.11.3.1.2).
    pub inverted: bool,
    /// Pixel Padding Value to Pixel Padding Range Limit, as stored values: pixels that are no part of the image.
    pub padding: Option<(i32, i32)>,
}

impl Default for GreyTransform {
    fn default() -> Self {
        Self {
            modality: Modality::Linear {
                slope: 1.0,
                intercept: 0.0,
            },
            voi: None,
            inverted: false,
            padding: None,
        }
    }
}

/// The modality LUT (PS3.3 section C.11.1).
#[derive(Clone, Debug, PartialEq)]
pub enum Modality {
    /// Rescale Slope and Rescale Intercept, both finite, the slope not zero.
    Linear {
        /// Rescale Slope (0028,1053).
        slope: f64,
        /// Rescale Intercept (0028,1052).
        intercept: f64,
    },
    /// The first item of the Modality LUT Sequence (0028,3000).
    Table(LookupTable),
}

/// The VOI LUT (PS3.3 section C.11.2).
#[derive(Clone, Debug, PartialEq)]
pub enum Voi {
    /// Window Center, Window Width and VOI LUT Function.
    Window {
        /// Window Center (0028,1050), finite.
        center: f64,
        /// Window Width (0028,1051), finite; at least 1 for `Linear`, above 0 otherwise.
        width: f64,
        /// VOI LUT Function (0028,1056).
        function: VoiFunction,
    },
    /// The first item of the VOI LUT Sequence (0028,3010).
    Table(LookupTable),
}

/// VOI LUT Function (0028,1056).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VoiFunction {
    /// `LINEAR`, the default.
    Linear,
    /// `LINEAR_EXACT`.
    LinearExact,
    /// `SIGMOID`.
    Sigmoid,
}

/// A lookup table with its descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupTable {
    /// The input value that the first entry is for.
    pub first: i32,
    /// Bits of an entry, 8 to 16.
    pub bits: u32,
    /// At least one entry.
    pub entries: Vec<u16>,
}

impl LookupTable {
    /// The entry for `input`; inputs outside the table take its first or last entry (PS3.3 section C.11.1.1.1).
    #[must_use]
    pub fn entry(&self, input: f64) -> u16 {
        let index = (input.round() - f64::from(self.first)).clamp(0.0, self.entries.len() as f64 - 1.0);
        self.entries.get(index as usize).copied().unwrap_or_default()
    }
}

impl Voi {
    /// The window from the lowest to the highest of these values.
    #[must_use]
    pub(super) fn spanning(values: impl Iterator<Item = f64>) -> Self {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
        Self::Window {
            center: f64::midpoint(low, high),
            width: high - low,
            function: VoiFunction::LinearExact,
        }
    }

    /// Where a modality value lies in the part of interest: 0 at or below its lower end, 1 at or above its upper end
    /// (PS3.3 section C.11.2.1.2 and C.11.2.1.3, with the output range scaled to 0..=1).
    #[must_use]
    pub fn position(&self, value: f64) -> f64 {
        match self {
            Self::Window {
                center,
                width,
                function: VoiFunction::Linear,
            } => {
                if *width <= 1.0 {
                    return if value <= center - 0.5 { 0.0 } else { 1.0 };
                }
                ((value - (center - 0.5)) / (width - 1.0) + 0.5).clamp(0.0, 1.0)
            }
            Self::Window {
                center,
                width,
                function: VoiFunction::LinearExact,
            } => ((value - center) / width + 0.5).clamp(0.0, 1.0),
            Self::Window {
                center,
                width,
                function: VoiFunction::Sigmoid,
            } => 1.0 / (1.0 + (-4.0 * (value - center) / width).exp()),
            Self::Table(table) => {
                let top = f64::from((1_u32 << table.bits.clamp(1, 16)) - 1);
                (f64::from(table.entry(value)) / top).min(1.0)
            }
        }
    }
}

impl Modality {
    fn apply(&self, stored: i32) -> f64 {
        match self {
            Self::Linear { slope, intercept } => f64::from(stored) * slope + intercept,
            Self::Table(table) => f64::from(table.entry(f64::from(stored))),
        }
    }
}

impl StoredImage {
    /// How many different codes there can be: `2^bits_stored`.
    #[must_use]
    pub fn code_count(&self) -> usize {
        1 << self.bits_stored.clamp(1, 16)
    }

    /// The stored value that a bit pattern stands for.
    #[must_use]
    pub fn stored_value(&self, code: u16) -> i32 {
        let value = i32::from(code);
        if self.signed && value >= (1 << (self.bits_stored - 1)) {
            value - (1 << self.bits_stored)
        } else {
            value
        }
    }

    /// The modality value of every code, in the order of the codes.
    #[must_use]
    pub fn modality_values(&self) -> Vec<f64> {
        (0..self.code_count())
            .map(|code| self.transform.modality.apply(self.stored_value(code as u16)))
            .collect()
    }

    /// Whether a code is padding and no part of the image (PS3.3 section C.7.5.1.1.2).
    #[must_use]
    pub fn is_padding(&self, code: u16) -> bool {
        let value = self.stored_value(code);
        self.transform
            .padding
            .is_some_and(|(low, high)| (low.min(high)..=low.max(high)).contains(&value))
    }

    /// The table from code to displayed value (0 black to 65535 white, bone bright) under `voi`.
    ///
    /// Padding is shown black, whatever the polarity.
    #[must_use]
    pub fn display_table(&self, voi: &Voi) -> Vec<u16> {
        let modality = self.modality_values();
        modality
            .iter()
            .enumerate()
            .map(|(code, value)| {
                if self.is_padding(code as u16) {
                    return 0;
                }
                let position = voi.position(*value);
                let shown = if self.transform.inverted {
                    1.0 - position
                } else {
                    position
                };
                (shown * f64::from(u16::MAX)).round() as u16
            })
            .collect()
    }
}

#[cfg(test)]
impl StoredImage {
    /// A made image for tests: 12 bits, unsigned, shown as it is.
    pub(super) fn twelve_bits(rows: usize, columns: usize, codes: Vec<u16>) -> Self {
        Self {
            rows,
            columns,
            bits_stored: 12,
            signed: false,
            codes: Codes::Words(codes),
            transform: GreyTransform::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(bits_stored: u32, signed: bool, transform: GreyTransform) -> StoredImage {
        StoredImage {
            rows: 1,
            columns: 1,
            bits_stored,
            signed,
            codes: Codes::Words(vec![0]),
            transform,
        }
    }

    /// PS3.3 section C.11.2.1.2.1, notes: c=2048, w=4096 is `y = x / 4095`; c=2048, w=1 is 0 up to 2047 and 1 above;
    /// c=0, w=100 maps -50 to 0 and 49 to 1.
    #[test]
    fn linear_window_follows_the_standards_examples() {
        let window = |center, width| Voi::Window {
            center,
            width,
            function: VoiFunction::Linear,
        };
        assert!((window(2048.0, 4096.0).position(1000.0) - 1000.0 / 4095.0).abs() < 1e-12);
        assert_eq!(window(2048.0, 1.0).position(2047.0), 0.0);
        assert_eq!(window(2048.0, 1.0).position(2048.0), 1.0);
        assert_eq!(window(0.0, 100.0).position(-50.0), 0.0);
        assert_eq!(window(0.0, 100.0).position(49.0), 1.0);
    }

    /// PS3.3 section C.11.2.1.3.1 and C.11.2.1.3.2.
    #[test]
    fn exact_and_sigmoid_windows() {
        let exact = Voi::Window {
            center: 0.0,
            width: 100.0,
            function: VoiFunction::LinearExact,
        };
        assert!((exact.position(25.0) - 0.75).abs() < 1e-12);
        let sigmoid = Voi::Window {
            center: 10.0,
            width: 4.0,
            function: VoiFunction::Sigmoid,
        };
        assert!((sigmoid.position(11.0) - 1.0 / (1.0 + (-1.0_f64).exp())).abs() < 1e-12);
    }

    #[test]
    fn signed_codes_are_twos_complement_in_the_bits_stored() {
        let signed = image(12, true, GreyTransform::default());
        assert_eq!(signed.stored_value(0xFFF), -1);
        assert_eq!(signed.stored_value(0x800), -2048);
        assert_eq!(signed.stored_value(0x7FF), 2047);
    }

    #[test]
    fn polarity_comes_last_and_padding_is_black() {
        let voi = Voi::Window {
            center: 128.0,
            width: 256.0,
            function: VoiFunction::Linear,
        };
        let transform = GreyTransform {
            inverted: true,
            padding: Some((0, 0)),
            ..GreyTransform::default()
        };
        let table = image(8, false, transform).display_table(&voi);
        assert_eq!(table[0], 0, "padding");
        assert_eq!(table[255], 0);
        assert_eq!(table[1], (65535.0_f64 * (1.0 - 1.0 / 255.0)).round() as u16);
    }

    #[test]
    fn tables_clamp_outside_their_range() {
        let table = LookupTable {
            first: 10,
            bits: 8,
            entries: vec![5, 100, 255],
        };
        assert_eq!(table.entry(-3.0), 5);
        assert_eq!(table.entry(11.0), 100);
        assert_eq!(table.entry(1e9), 255);
        assert!((Voi::Table(table).position(11.0) - 100.0 / 255.0).abs() < 1e-12);
    }
}
