//! Tests of whole phantoms: determinism, range, and that density shows as contrast.

use super::body::FIRST_LUMBAR;
use super::geometry::Point;
use super::*;

#[test]
fn the_same_recipe_gives_the_same_pixels() {
    let one = phantom(11, 160, 120);
    assert_eq!(one, phantom(11, 160, 120));
    assert_ne!(one.pixels, phantom(12, 160, 120).pixels);
    let second_view = Recipe {
        view: 1,
        ..Recipe::new(11, 160, 120)
    }
    .render();
    assert_eq!(one.truth, second_view.truth);
    assert_ne!(one.pixels, second_view.pixels);
}

#[test]
fn pixels_use_most_of_twelve_bits() {
    for seed in 0..40 {
        let phantom = phantom(seed, 128, 96);
        assert_eq!(phantom.pixels.len(), 128 * 96);
        let mut sorted = phantom.pixels.clone();
        sorted.sort_unstable();
        let [low, high] = [0.03, 0.97].map(|share| sorted[(share * sorted.len() as f32) as usize]);
        assert!(high <= 4095 && high - low > 1500, "seed {seed}: {low} to {high}");
    }
}

#[test]
fn odd_sizes_render() {
    for (rows, columns) in [(1, 1), (7, 300), (300, 7)] {
        let phantom = phantom(1, rows, columns);
        assert_eq!(phantom.pixels.len(), usize::from(rows) * usize::from(columns));
    }
}

/// Mean attenuation in the interiors of L1 to L3 less that of the discs between them.
fn bone_contrast(seed: u64, t_score: f32) -> f32 {
    let mut truth = Truth::draw(seed, None);
    truth.t_score = t_score;
    let recipe = Recipe::new(seed, 320, 240);
    let spine = Spine::new(seed, &truth);
    let acquisition = Acquisition::new(seed, 0, &truth, recipe.rows, recipe.columns);
    let plane = recipe.attenuation(&truth, &spine, &acquisition);
    let detector = Affine::pixels_to_detector(recipe.rows, recipe.columns, acquisition.spacing);
    let frame = Affine::pixels_to_patient(detector, truth.facing_left, acquisition.pose);
    let at = |place: Point| {
        let pixel = frame.invert(place);
        let [row, column] = [pixel.y, pixel.x].map(|place| place.round().max(0.0) as usize);
        plane.values[row.min(plane.rows - 1) * plane.columns + column.min(plane.columns - 1)]
    };
    let bodies = &spine.bodies[FIRST_LUMBAR..FIRST_LUMBAR + 3];
    let mut inside = Vec::new();
    for body in bodies {
        for step in 0..40 {
            let (x, y) = ((step % 8) as f32 - 3.5, (step / 8) as f32 - 2.0);
            let middle = f32::midpoint(body.upper.at(x), body.lower.at(x));
            inside.push(at(body.pose.place(Point::new(1.8 * x, middle + y))));
        }
    }
    let discs: Vec<f32> = bodies
        .windows(2)
        .map(|pair| {
            let above = pair[0].pose.place(Point::new(0.0, pair[0].lower.at(0.0)));
            at(above.toward(pair[1].pose.place(Point::new(0.0, pair[1].upper.at(0.0))), 0.5))
        })
        .collect();
    let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
    mean(&inside) - mean(&discs)
}

#[test]
fn osteoporotic_bone_stands_out_less_from_its_discs() {
    for seed in 0..5 {
        let (healthy, porous) = (bone_contrast(seed, 0.0), bone_contrast(seed, -4.0));
        assert!(
            porous < healthy - 0.08,
            "seed {seed}: {porous} at -4, {healthy} at 0"
        );
    }
}

#[test]
fn an_instance_reads_back_with_its_polarity() {
    let mut polarities = [0; 2];
    for seed in 0..300 {
        let phantom = phantom(seed, 32, 24);
        let object = to_dicom(&phantom, 99, seed as u32, 0).expect("instance");
        let mut bytes = Vec::new();
        object.write_all(&mut bytes).expect("written");
        let object = dicom_object::from_reader(bytes.as_slice()).expect("read");
        let text = |name: &str| {
            object
                .element_by_name(name)
                .expect(name)
                .to_str()
                .expect(name)
                .into_owned()
        };
        let inverted = text("PhotometricInterpretation") == "MONOCHROME1";
        assert_eq!(inverted, phantom.truth.monochrome1);
        assert_eq!(text("PresentationLUTShape") == "INVERSE", inverted);
        polarities[usize::from(inverted)] += 1;
        let stored = object
            .element_by_name("PixelData")
            .expect("pixels")
            .to_multi_int::<u16>()
            .expect("values");
        let shown: Vec<u16> = stored
            .into_iter()
            .map(|value| if inverted { 4095 - value } else { value })
            .collect();
        assert_eq!(shown, phantom.pixels);
        assert_eq!(text("PatientAge"), format!("{:03}Y", phantom.truth.age_years));
    }
    assert!(
        polarities.iter().all(|count| (120..=180).contains(count)),
        "{polarities:?}"
    );
}

#[test]
fn the_header_does_not_tell_the_label() {
    let recipe = Recipe::new(4, 16, 12);
    let mut phantom = recipe.render();
    let written = |phantom: &Phantom| {
        let mut bytes = Vec::new();
        to_dicom(phantom, 1, 4, 0)
            .expect("instance")
            .write_all(&mut bytes)
            .expect("written");
        bytes
    };
    let before = written(&phantom);
    phantom.truth.t_score = 1.0;
    phantom.truth.osteoporosis = !phantom.truth.osteoporosis;
    phantom.truth.fracture = !phantom.truth.fracture;
    phantom.truth.grades = [Genant::Severe; 3];
    assert!(before == written(&phantom), "the bytes depend on the labels");
}

#[test]
fn a_pixel_count_that_does_not_fit_is_refused() {
    let mut phantom = phantom(1, 16, 12);
    phantom.pixels.pop();
    assert!(matches!(
        to_dicom(&phantom, 1, 1, 0),
        Err(InstanceError::PixelCount { found: 191, .. })
    ));
}

#[test]
fn the_three_graded_bodies_lie_on_the_detector() {
    for seed in 0..1000 {
        let truth = Truth::draw(seed, None);
        let acquisition = Acquisition::new(seed, 0, &truth, ROWS, COLUMNS);
        let detector = Affine::pixels_to_detector(ROWS, COLUMNS, acquisition.spacing);
        let frame = Affine::pixels_to_patient(detector, truth.facing_left, acquisition.pose);
        let spine = Spine::new(seed, &truth);
        for body in &spine.bodies[FIRST_LUMBAR..FIRST_LUMBAR + 3] {
            for corner in [false, true].into_iter().flat_map(|lower| body.corners(lower)) {
                let pixel = frame.invert(body.pose.place(corner));
                let inside =
                    (0.0..f32::from(COLUMNS)).contains(&pixel.x) && (0.0..f32::from(ROWS)).contains(&pixel.y);
                assert!(inside, "seed {seed}: {pixel:?}");
            }
        }
    }
}
