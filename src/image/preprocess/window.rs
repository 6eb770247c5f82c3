//! The windows that do not come from the file.

use super::PreprocessError;
use crate::image::border::Rectangle;
use crate::image::grey::{StoredImage, Voi, VoiFunction};

/// From the lowest to the highest modality value that the stored bits can hold.
pub(super) fn full_range(image: &StoredImage) -> Voi {
    let values = image.modality_values();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    between(low, high)
}

fn between(low: f64, high: f64) -> Voi {
    Voi::Window {
        center: f64::midpoint(low, high),
        width: high - low,
        function: VoiFunction::LinearExact,
    }
}

/// The window between two percentiles of the modality values, padding left out.
///
/// The lower end is the lowest value with more than its share of pixels at or below it, the upper end its mirror
/// image, so that an inverted copy of an image gets the inverted window.
pub(super) fn between_percentiles(
    image: &StoredImage,
    field: Rectangle,
    percentiles: [f64; 2],
) -> Result<Voi, PreprocessError> {
    let mut histogram = vec![0_u64; image.code_count()];
    let mut codes = vec![0; field.columns];
    for row in field.top..field.top + field.rows {
        image.codes.read(row * image.columns + field.left, &mut codes);
        for code in &codes {
            histogram[usize::from(*code)] += 1;
        }
    }
    let modality = image.modality_values();
    let mut counts: Vec<(f64, u64)> = histogram
        .iter()
        .enumerate()
        .filter(|(code, count)| **count > 0 && !image.is_padding(*code as u16))
        .map(|(code, count)| (modality[code], *count))
        .collect();
    counts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = counts.iter().map(|(_, count)| count).sum::<u64>() as f64;
    let low = beyond(counts.iter(), total * percentiles[0] / 100.0);
    let high = beyond(counts.iter().rev(), total * (100.0 - percentiles[1]) / 100.0);
    match (low, high) {
        (Some(low), Some(high)) if high > low => Ok(between(low, high)),
        _ => Err(PreprocessError::Constant),
    }
}

/// The first value at which more than `share` pixels have been passed.
fn beyond<'a>(counts: impl Iterator<Item = &'a (f64, u64)>, share: f64) -> Option<f64> {
    let mut passed = 0;
    counts
        .into_iter()
        .find(|(_, count)| {
            passed += count;
            passed as f64 > share
        })
        .map(|(value, _)| *value)
}
