//! The same picture in the other polarity: MONOCHROME1 for MONOCHROME2, and back.

use crate::image::grey::{Modality, Voi, VoiFunction};
use crate::image::{Codes, StoredImage};

/// Stored values, padding, window and photometric interpretation all turned round: another file of the same picture.
pub(super) fn other_polarity(mut image: StoredImage) -> StoredImage {
    let top = (image.code_count() - 1) as u16;
    let mut codes = image.codes.words(image.rows * image.columns);
    for code in &mut codes {
        *code = top - *code;
    }
    image.codes = Codes::Words(codes);
    image.transform.inverted = !image.transform.inverted;
    // a stored value and the one in its place add up to this
    let sum = if image.signed { -1 } else { i32::from(top) };
    image.transform.padding = image.transform.padding.map(|(low, high)| (sum - high, sum - low));
    if let (Some(Voi::Window { center, function, .. }), Modality::Linear { slope, intercept }) =
        (&mut image.transform.voi, &image.transform.modality)
    {
        // the modality value v becomes slope * sum + 2 * intercept - v; LINEAR is centred on center - 0.5
        let half = if *function == VoiFunction::Linear {
            0.5
        } else {
            0.0
        };
        *center = slope * f64::from(sum) + 2.0 * intercept - (*center - half) + half;
    }
    image
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::GreyTransform;

    #[test]
    fn an_inverted_copy_is_shown_as_the_image_is() {
        for signed in [false, true] {
            for function in [
                VoiFunction::Linear,
                VoiFunction::LinearExact,
                VoiFunction::Sigmoid,
            ] {
                let image = StoredImage {
                    rows: 1,
                    columns: 4096,
                    bits_stored: 12,
                    signed,
                    codes: Codes::Words((0..4096).collect()),
                    transform: GreyTransform {
                        modality: Modality::Linear {
                            slope: 0.5,
                            intercept: 100.0,
                        },
                        voi: Some(Voi::Window {
                            center: 700.0,
                            width: 900.0,
                            function,
                        }),
                        inverted: false,
                        padding: Some((3, 7)),
                    },
                };
                let shown = |image: &StoredImage| -> Vec<u16> {
                    let table = image.display_table(image.transform.voi.as_ref().unwrap());
                    let codes = image.codes.words(4096);
                    codes.iter().map(|code| table[usize::from(*code)]).collect()
                };
                let other = other_polarity(image.clone());
                assert!(other.transform.inverted && other.codes.words(4096)[0] == 4095);
                let far = shown(&image)
                    .iter()
                    .zip(shown(&other))
                    .map(|(one, other)| one.abs_diff(other))
                    .max();
                assert!(far <= Some(1), "signed {signed}, {function:?}: {far:?}");
            }
        }
    }
}
