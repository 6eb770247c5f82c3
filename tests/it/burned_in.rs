//! What is written in an image may be a patient's name: no picture that people are given shows it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dicom_core::VR;
use dicom_dictionary_std::tags;
use osteon::image::heatmap::Picture;
use osteon::image::lettering::write;
use osteon::image::phantom::{Recipe, to_dicom};

use crate::index::{index, said, stage, table};
use crate::server::with;
use crate::trainer::{done, trainer};
use crate::training_table::RECIPE;

/// Height and width of a tile of a report's sheets, and by how much the next one is further to the right.
const TILE: [u32; 2] = [200, 160];
const STEP: u32 = 166;

/// A patient's image again, with a name in its pixels.
fn inscribed(file: &Path, patient: u64) {
    let phantom = Recipe::new(patient, 160, 120).render();
    let mut picture = Picture {
        rows: 160,
        columns: 120,
        values: phantom
            .pixels
            .iter()
            .flat_map(|value| [(value >> 5) as u8; 3])
            .collect(),
    };
    write(&mut picture, "DOE JANE 1950", [20, 10], 1);
    let grey: Vec<u8> = picture.values.chunks(3).map(|pixel| pixel[0]).collect();
    image::save_buffer(file, &grey, 120, 160, image::ExtendedColorType::L8).unwrap();
}

/// A patient's image, of which the header says that there is text in it.
fn stated(file: &Path, patient: u32) {
    let object = to_dicom(&Recipe::new(u64::from(patient), 160, 120).render(), 7, patient, 0).unwrap();
    std::fs::write(file, with(&object, tags::BURNED_IN_ANNOTATION, VR::CS, "YES")).unwrap();
}

/// The sheets of a report, from above to below.
fn sheets(report: &Path) -> Vec<image::RgbImage> {
    let html = std::fs::read_to_string(report).unwrap();
    let pictures = html.split("data:image/png;base64,").skip(1);
    pictures
        .map(|rest| {
            let png = STANDARD.decode(rest.split('"').next().unwrap()).unwrap();
            image::load_from_memory(&png).unwrap().to_rgb8()
        })
        .collect()
}

/// Whether a tile has any grey: letters are white, and what is behind them is black.
fn shows(sheet: &image::RgbImage, tile: u32) -> bool {
    let mut greys = 0;
    for row in 0..TILE[0] {
        for column in 0..TILE[1] {
            let grey = sheet.get_pixel(tile * STEP + column, row)[0];
            greys += u32::from(grey > 0 && grey < 255);
        }
    }
    greys > 0
}

#[test]
fn a_report_shows_no_image_with_text_in_it() {
    let stage = stage(4);
    let folder = stage.path();
    stated(&folder.join("in/002.dcm"), 2);
    // the picture of patient 1, of whom a file without a header does not know
    inscribed(&folder.join("in/one.png"), 1);
    let output = index(folder, "out", &[]);
    assert!(output.status.success(), "{}", said(&output));
    let rows = table(&folder.join("out/images.csv"));
    let judged: Vec<&str> = rows.iter().map(|row| row["burned_in"].as_str()).collect();
    assert_eq!(judged, ["no", "no", "stated", "no", "seen"]);

    let sheets = sheets(&folder.join("out/report.html"));
    assert_eq!(
        sheets.len(),
        3,
        "two body parts, one of them unknown, and a pair of copies"
    );
    let [unknown, spines, copies] = [&sheets[0], &sheets[1], &sheets[2]];
    assert!(!shows(unknown, 0));
    let shown: Vec<bool> = (0..4).map(|tile| shows(spines, tile)).collect();
    assert_eq!(shown, [true, true, true, false]);
    assert_eq!([shows(copies, 0), shows(copies, 1)], [true, false]);
}

#[test]
fn a_contact_sheet_passes_over_images_with_text_in_them() {
    let stage = stage(6);
    let folder = stage.path();
    std::fs::write(folder.join("recipe.json"), RECIPE).unwrap();
    let path = |name: &str| folder.join(name).to_string_lossy().into_owned();
    let preview = |labels: &str, sheet: &str| {
        trainer(&[
            "augment",
            "preview",
            "--labels",
            &path(labels),
            "--recipe",
            &path("recipe.json"),
            "--images",
            "6",
            "--epochs",
            "1",
            "--out",
            &path(sheet),
        ])
    };
    // patients 1 to 3 train; of a table that does not say what is in the pixels, the files are looked at
    let csv = |name: &str| {
        let line = |patient: usize| {
            let part = if (1..4).contains(&patient) {
                "train"
            } else {
                "validation"
            };
            format!("in/{patient:03}.dcm,p{patient},{part},{}\n", patient % 2)
        };
        let lines: String = (0..6).map(line).collect();
        std::fs::write(folder.join(name), format!("file,patient,split,fracture\n{lines}")).unwrap();
    };
    csv("labels.csv");
    let height = |sheet: &str| image::image_dimensions(folder.join(sheet)).unwrap().1;
    let all = preview("labels.csv", "all.png");
    assert!(
        all.status.success() && !said(&all).contains("passed over"),
        "{}",
        said(&all)
    );

    for patient in [1, 3] {
        stated(&folder.join(format!("in/{patient:03}.dcm")), patient);
    }
    let one = preview("labels.csv", "one.png");
    let words = said(&one);
    assert!(one.status.success(), "{words}");
    assert!(
        words.contains("2 images are passed over: something may be written in their pixels"),
        "{words}"
    );
    // a row for each image, with a gap above the first
    let gap = 8;
    assert_eq!((height("all.png") - gap) / 3, height("one.png") - gap);

    // the table of an index says it, and counts
    done(&[
        "index",
        "--in",
        &path("in"),
        "--labels",
        &path("labels.csv"),
        "--key-file",
        &path("key"),
        "--out",
        &path("out"),
    ]);
    let of_index = preview("out/images.csv", "index.png");
    assert!(
        said(&of_index).contains("2 images are passed over"),
        "{}",
        said(&of_index)
    );
    assert_eq!(height("index.png"), height("one.png"));

    stated(&folder.join("in/002.dcm"), 2);
    let none = preview("labels.csv", "none.png");
    assert!(
        !none.status.success() && said(&none).contains("none of the 3 training images may be shown"),
        "{}",
        said(&none)
    );
    assert!(!folder.join("none.png").exists());
}
