//! The contract on made images.

use super::super::Codes;
use super::super::grey::{Modality, Voi, VoiFunction};
use super::*;

fn codes(image: &StoredImage) -> Vec<u16> {
    image.codes.words(image.rows * image.columns)
}

pub(super) fn ramp(rows: usize, columns: usize) -> StoredImage {
    let codes = (0..rows * columns)
        .map(|index| ((index * 2654435761) >> 7 & 0xFFF) as u16)
        .collect();
    StoredImage::twelve_bits(rows, columns, codes)
}

/// The same picture as the other photometric interpretation: stored values, window and polarity all turned round.
fn inverted(image: &StoredImage) -> StoredImage {
    let mut other = image.clone();
    let mut codes = codes(image);
    for code in &mut codes {
        *code = 4095 - *code;
    }
    other.codes = Codes::Words(codes);
    other.transform.inverted = !image.transform.inverted;
    if let Some(Voi::Window {
        center,
        width,
        function,
    }) = other.transform.voi
    {
        // LINEAR is centred on c - 0.5
        let center = 4095.0 - (center - 0.5) + 0.5;
        other.transform.voi = Some(Voi::Window {
            center,
            width,
            function,
        });
    }
    other
}

#[test]
fn a_polarity_pair_gives_one_tensor() {
    let contract = Preprocessing::grey(64, 48);
    let mut image = ramp(200, 120);
    assert_eq!(
        contract.apply(&image).unwrap(),
        contract.apply(&inverted(&image)).unwrap(),
        "percentiles"
    );
    image.transform.voi = Some(Voi::Window {
        center: 1500.0,
        width: 1801.0,
        function: VoiFunction::Linear,
    });
    let (a, b) = (
        contract.plane(&image).unwrap().0,
        contract.plane(&inverted(&image)).unwrap().0,
    );
    // rounding to 16 bits may differ by one step where a value lies exactly between two
    assert!(
        a.values.iter().zip(&b.values).all(|(a, b)| a.abs_diff(*b) <= 1),
        "window"
    );
}

#[test]
fn the_aspect_ratio_is_kept_and_the_rest_is_black() {
    let (plane, placement) = Preprocessing::grey(64, 64).plane(&ramp(100, 50)).unwrap();
    assert_eq!(
        placement.target,
        Rectangle {
            top: 0,
            left: 16,
            rows: 64,
            columns: 32
        }
    );
    assert!(
        plane
            .values
            .chunks(64)
            .all(|row| row[..16].iter().chain(&row[48..]).all(|value| *value == 0))
    );
}

#[test]
fn full_range_and_stretch_give_back_an_image_of_the_same_size() {
    let contract = Preprocessing {
        voi: VoiRule::FullRange,
        fit: Fit::Stretch,
        crop_border: false,
        ..Preprocessing::grey(8, 8)
    };
    let image = ramp(8, 8);
    let (plane, _) = contract.plane(&image).unwrap();
    let expected: Vec<u16> = codes(&image)
        .iter()
        .map(|code| (f64::from(*code) / 4095.0 * 65535.0).round() as u16)
        .collect();
    assert_eq!(plane.values, expected);
}

#[test]
fn channels_and_layouts_repeat_the_grey() {
    let plane = Plane {
        rows: 1,
        columns: 2,
        values: vec![0, 65535],
    };
    let three = Preprocessing {
        channels: 3,
        mean: vec![0.0, 0.5, 1.0],
        std: vec![1.0, 0.5, 2.0],
        ..Preprocessing::grey(1, 2)
    };
    assert_eq!(three.tensor(&plane).values, [0.0, 1.0, -1.0, 1.0, -0.5, 0.0]);
    let last = Preprocessing {
        layout: Layout::Nhwc,
        ..three
    };
    assert_eq!(last.tensor(&plane).values, [0.0, -1.0, -0.5, 1.0, 1.0, 0.0]);
    assert_eq!(last.tensor(&plane).shape, [1, 2, 3]);
    let on_its_side = Preprocessing {
        layout: Layout::Ncwh,
        mean: vec![0.0],
        std: vec![1.0],
        ..Preprocessing::grey(2, 2)
    };
    let square = Plane {
        rows: 2,
        columns: 2,
        values: vec![0, 65535, 0, 0],
    };
    assert_eq!(on_its_side.tensor(&square).values, [0.0, 0.0, 1.0, 0.0]);
    let oblong = Preprocessing {
        columns: 5,
        ..on_its_side
    };
    assert_eq!(oblong.input_shape(), [1, 5, 2]);
}

#[test]
fn a_constant_image_is_refused_in_every_rule() {
    let mut image = ramp(20, 20);
    image.codes = Codes::Words(vec![700; 400]);
    for voi in [
        VoiRule::FileOrPercentiles,
        VoiRule::Percentiles,
        VoiRule::FullRange,
    ] {
        let contract = Preprocessing {
            voi,
            ..Preprocessing::grey(8, 8)
        };
        assert_eq!(contract.apply(&image).unwrap_err(), PreprocessError::Constant);
    }
}

#[test]
fn percentiles_follow_the_modality_lut() {
    let mut image = ramp(100, 100);
    let contract = Preprocessing {
        percentiles: [1.0, 99.0],
        ..Preprocessing::grey(16, 16)
    };
    let plain = contract.plane(&image).unwrap().0;
    image.transform.modality = Modality::Linear {
        slope: 0.25,
        intercept: -300.0,
    };
    let rescaled = contract.plane(&image).unwrap().0;
    assert!(
        plain
            .values
            .iter()
            .zip(&rescaled.values)
            .all(|(a, b)| a.abs_diff(*b) <= 1)
    );
}

#[test]
fn a_contract_of_before_is_written_as_it_was() {
    let text = serde_json::to_string(&Preprocessing::grey(8, 8)).unwrap();
    assert!(!text.contains("shorter_side"), "{text}");
    let read: Preprocessing = serde_json::from_str(&text).unwrap();
    assert_eq!(read, Preprocessing::grey(8, 8));
}

#[test]
fn a_contract_that_cannot_be_met_is_named() {
    let bad = Preprocessing {
        std: vec![0.0],
        ..Preprocessing::grey(8, 8)
    };
    assert!(bad.check().unwrap_err().to_string().contains("std"));
    let other = Preprocessing {
        version: 2,
        ..Preprocessing::grey(8, 8)
    };
    assert!(other.check().unwrap_err().to_string().contains("version"));
    assert!(Preprocessing::grey(8, 8).check().is_ok());
}
