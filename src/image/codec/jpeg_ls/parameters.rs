//! What a JPEG-LS scan is coded with (T.87 section A.2.1 and annex C.2.4.1.1).

use super::CodecError;

/// The parameters of a scan.
pub(super) struct Parameters {
    /// MAXVAL.
    pub(super) highest: i32,
    pub(super) near: i32,
    /// 2 NEAR + 1.
    pub(super) step: i32,
    pub(super) range: i32,
    /// qbpp.
    pub(super) error_bits: u32,
    pub(super) limit: u32,
    /// From which size on a gradient lies in the regions 1 to 4.
    thresholds: [u16; 4],
    /// The region of every gradient from `-highest` to `highest`.
    regions: Box<[i8]>,
    pub(super) reset: i32,
}

impl Parameters {
    pub(super) fn new(
        precision: u32,
        near: i32,
        [highest, t1, t2, t3, reset]: [i32; 5],
    ) -> Result<Self, CodecError> {
        let default = |given: i32, otherwise: i32| if given == 0 { otherwise } else { given };
        let highest = default(highest, (1 << precision) - 1);
        if highest >= 1 << precision || near > (highest / 2).min(255) {
            return Err(CodecError::Damaged);
        }
        let step = 2 * near + 1;
        let range = (highest + 2 * near) / step + 1;
        let bits_of = |count: i32| (count as u32).next_power_of_two().trailing_zeros();
        let sample_bits = bits_of(highest + 1).max(2);

        let clamp = |value: i32, least: i32| {
            if value > highest || value < least {
                least
            } else {
                value
            }
        };
        let basic = if highest >= 128 {
            let factor = (highest.min(4095) + 128) / 256;
            [
                factor + 2 + 3 * near,
                factor * 4 + 3 + 5 * near,
                factor * 17 + 4 + 7 * near,
            ]
        } else {
            let factor = 256 / (highest + 1);
            [
                (3 / factor + 3 * near).max(2),
                (7 / factor + 5 * near).max(3),
                (21 / factor + 7 * near).max(4),
            ]
        };
        let t1 = default(t1, clamp(basic[0], near + 1));
        let t2 = default(t2, clamp(basic[1], t1));
        let t3 = default(t3, clamp(basic[2], t2));
        if !(near < t1 && t1 <= t2 && t2 <= t3 && t3 <= highest.max(t2)) {
            return Err(CodecError::Damaged);
        }
        let thresholds = [near + 1, t1, t2, t3].map(|threshold| threshold as u16);
        let error_bits = bits_of(range);
        let limit = 2 * (sample_bits + sample_bits.max(8));
        Ok(Self {
            highest,
            near,
            step,
            range,
            error_bits,
            limit,
            thresholds,
            regions: (-highest..=highest)
                .map(|gradient| region(thresholds, gradient.max(0) as u16, (-gradient).max(0) as u16) as i8)
                .collect(),
            reset: default(reset, 64).max(3),
        })
    }

    /// Whether errors are counted modulo a power of two, one more than the highest value: always, but for near-lossless
    /// streams and odd values of MAXVAL.
    pub(super) fn exact(&self) -> bool {
        self.near == 0 && self.range.count_ones() == 1
    }

    /// The region of a gradient (T.87 section A.3.3), -4 to 4.
    #[inline(always)]
    pub(super) fn region(&self, gradient: i32) -> i32 {
        i32::from(self.regions[(self.highest + gradient) as u32 as usize])
    }

    /// What is known of the contexts of a line before its first pixel is: 81 Q1 + 9 Q2, which depend on the line above
    /// only. `above` has one more to the left, and to the right.
    #[inline(always)]
    pub(super) fn begun_contexts(&self, above: &[u16], contexts: &mut [i16]) {
        let neighbours = above.iter().zip(&above[1..]).zip(&above[2..]);
        for (context, ((c, b), d)) in contexts.iter_mut().zip(neighbours) {
            *context = 81 * region(self.thresholds, *d, *b) + 9 * region(self.thresholds, *b, *c);
        }
    }

    /// A prediction with its error put right, within the range (T.87 section A.4.5 and A.5.3).
    #[inline(always)]
    pub(super) fn reconstructed<const EXACT: bool>(&self, predicted: i32, error: i32) -> i32 {
        if EXACT {
            return (predicted + error) & self.highest;
        }
        let span = self.range * self.step;
        let mut value = predicted + error * self.step;
        if value < -self.near {
            value += span;
        } else if value > self.highest + self.near {
            value -= span;
        }
        value.clamp(0, self.highest)
    }
}

/// The region of the gradient `to - from`, by comparisons alone, which suits vector instructions.
#[inline(always)]
fn region(thresholds: [u16; 4], to: u16, from: u16) -> i16 {
    let size = to.abs_diff(from);
    let region = thresholds
        .map(|threshold| i16::from(size >= threshold))
        .iter()
        .sum::<i16>();
    if to < from { -region } else { region }
}
