//! Whether something is written in the pixels: a line of small, sharp shapes of one grey, as a device or a screen writes them.
//!
//! A name that was burned in has the lightest or darkest grey of the image, ends within two pixels, and stands in a line of shapes of one
//! height. Bone and metal are as light, but their edges are soft, or they do not stand in line; a lead letter stands alone. It is a
//! suspicion for a person to look at, neither proof nor clearance: grey letters, handwriting and single letters are not seen.

use super::grey::StoredImage;

/// Shapes in line, from which on it is writing.
const LEAST_LETTERS: usize = 5;
/// Smallest height of a letter in pixels; the largest is a part of the image's.
const LEAST_HEIGHT: usize = 6;
const LARGEST_PART: usize = 16;
/// In parts of all greys: how near to the end of the scale ink is, and by how much what is beside it differs.
const INK: u32 = 32;
const SHARP: u32 = 5;
/// More runs or shapes than these are noise, not writing.
const MOST_RUNS: usize = 1 << 20;
const MOST_SHAPES: usize = 4096;

/// A shape that may be a letter.
#[derive(Clone, Copy, Debug)]
struct Shape {
    top: usize,
    bottom: usize,
    left: usize,
    right: usize,
    area: usize,
    runs: usize,
    sharp: usize,
}

/// Neighbouring pixels of ink in a row.
#[derive(Clone, Copy)]
struct InkRun {
    left: usize,
    /// Behind the last one.
    right: usize,
    shape: u32,
}

/// Whether there is writing in an image.
#[must_use]
pub fn is_inscribed(image: &StoredImage) -> bool {
    let mut greys = image.codes.words(image.rows * image.columns);
    if image.signed {
        // two's complement in order: the sign turned round
        let sign = 1 << (image.bits_stored.clamp(1, 16) - 1);
        for grey in &mut greys {
            *grey ^= sign;
        }
    }
    let (Some(low), Some(high)) = (greys.iter().min(), greys.iter().max()) else {
        return false;
    };
    let (low, high) = (*low, *high);
    let span = u32::from(high - low);
    if span < INK {
        return false;
    }
    let (ink, sharp) = ((span / INK) as u16, (span / SHARP) as u16);
    let light = |grey: u16| high - grey;
    let dark = |grey: u16| grey - low;
    has_line(&shapes(&greys, image.columns, ink, sharp, light), image.rows)
        || has_line(&shapes(&greys, image.columns, ink, sharp, dark), image.rows)
}

/// All connected shapes of what is at most `ink` away from the end of the scale.
fn shapes(greys: &[u16], columns: usize, ink: u16, sharp: u16, away: impl Fn(u16) -> u16) -> Vec<Shape> {
    let mut parents: Vec<u32> = Vec::new();
    let mut shapes: Vec<Shape> = Vec::new();
    let (mut above, mut here): (Vec<InkRun>, Vec<InkRun>) = (Vec::new(), Vec::new());
    let mut count = 0;
    for (row, line) in greys.chunks_exact(columns).enumerate() {
        std::mem::swap(&mut above, &mut here);
        here.clear();
        let mut column = 0;
        let mut first = 0;
        while let Some(left) = line[column..].iter().position(|grey| away(*grey) <= ink) {
            let left = column + left;
            let length = line[left..].iter().position(|grey| away(*grey) > ink);
            let right = length.map_or(columns, |length| left + length);
            column = right;
            count += 1;
            if count > MOST_RUNS {
                return Vec::new();
            }
            let is_other = |place: Option<usize>| {
                place
                    .and_then(|place| line.get(place))
                    .is_none_or(|grey| away(*grey) >= sharp)
            };
            // the first pixel beside it may be half ink, the second may be the next letter's
            let before = is_other(left.checked_sub(1)) || is_other(left.checked_sub(2));
            let ends = before && (is_other(Some(right)) || is_other(Some(right + 1)));
            let mut shape = shapes.len() as u32;
            shapes.push(Shape {
                top: row,
                bottom: row + 1,
                left,
                right,
                area: right - left,
                runs: 1,
                sharp: usize::from(ends),
            });
            parents.push(shape);
            while above.get(first).is_some_and(|run| run.right < left) {
                first += 1;
            }
            for run in above[first..].iter().take_while(|run| run.left <= right) {
                shape = join(&mut parents, &mut shapes, run.shape, shape);
            }
            here.push(InkRun { left, right, shape });
        }
    }
    let whole = shapes
        .into_iter()
        .zip(0..)
        .filter(|(_, place)| parents[*place as usize] == *place);
    whole.map(|(shape, _)| shape).collect()
}

/// Makes two shapes one, the earlier.
fn join(parents: &mut [u32], shapes: &mut [Shape], one: u32, other: u32) -> u32 {
    let (one, other) = (root(parents, one), root(parents, other));
    let (first, later) = (one.min(other), one.max(other));
    if first != later {
        parents[later as usize] = first;
        let Shape {
            top,
            bottom,
            left,
            right,
            area,
            runs,
            sharp,
        } = shapes[later as usize];
        let whole = &mut shapes[first as usize];
        whole.top = whole.top.min(top);
        whole.bottom = whole.bottom.max(bottom);
        whole.left = whole.left.min(left);
        whole.right = whole.right.max(right);
        whole.area += area;
        whole.runs += runs;
        whole.sharp += sharp;
    }
    first
}

fn root(parents: &mut [u32], shape: u32) -> u32 {
    let mut shape = shape;
    while parents[shape as usize] != shape {
        parents[shape as usize] = parents[parents[shape as usize] as usize];
        shape = parents[shape as usize];
    }
    shape
}

/// Whether enough of the shapes that may be letters stand in one line.
fn has_line(shapes: &[Shape], rows: usize) -> bool {
    let tallest = (rows / LARGEST_PART).max(2 * LEAST_HEIGHT);
    let may_be_letter = |shape: &&Shape| {
        let (height, width) = (shape.bottom - shape.top, shape.right - shape.left);
        (LEAST_HEIGHT..=tallest).contains(&height)
            && width <= 2 * height
            && shape.area * 6 >= height * width
            && shape.sharp * 10 >= shape.runs * 7
    };
    let mut letters: Vec<Shape> = shapes.iter().filter(may_be_letter).copied().collect();
    if letters.len() > MOST_SHAPES {
        return false;
    }
    letters.sort_by_key(|shape| shape.left);
    // for each letter, how many stand in line up to it
    let mut in_line = vec![1; letters.len()];
    for place in 0..letters.len() {
        let own = letters[place];
        for before in (0..place).rev() {
            let other = letters[before];
            if follows(&own, &other) {
                in_line[place] = in_line[place].max(in_line[before] + 1);
            }
            if in_line[place] >= LEAST_LETTERS {
                return true;
            }
        }
    }
    false
}

/// Whether a shape stands right of another, on the same line, as near and as high as letters do.
fn follows(own: &Shape, before: &Shape) -> bool {
    let (height, other) = (own.bottom - own.top, before.bottom - before.top);
    let (low, high) = (height.min(other), height.max(other));
    own.left >= before.right
        && own.left - before.right <= 2 * high
        && 3 * low >= 2 * high
        && own.bottom.abs_diff(before.bottom) * 4 <= high
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::Codes;
    use crate::image::heatmap::Picture;
    use crate::image::lettering::write;
    use crate::image::phantom::Recipe;

    /// A phantom, with `ink` where `text` is written in letters of `size`.
    fn image(seed: u64, text: &str, size: usize, ink: u16) -> StoredImage {
        let phantom = Recipe::new(seed, 512, 384).render();
        let (rows, columns) = (512, 384);
        let mut picture = Picture {
            rows,
            columns,
            values: vec![0; rows * columns * 3],
        };
        write(&mut picture, text, [40, 30], size);
        let mut codes = phantom.pixels;
        for (code, pixel) in codes.iter_mut().zip(picture.values.chunks(3)) {
            if pixel[0] > 0 {
                *code = ink;
            }
        }
        StoredImage {
            rows,
            columns,
            bits_stored: 12,
            signed: false,
            codes: Codes::Words(codes),
            transform: crate::image::GreyTransform::default(),
        }
    }

    #[test]
    fn writing_is_seen_in_white_and_black_and_in_several_sizes() {
        for seed in 0..8 {
            for (size, ink) in [(1, 4095), (2, 4095), (3, 4095), (2, 0)] {
                let written = image(seed, "SMITH ANNA 1950", size, ink);
                assert!(is_inscribed(&written), "phantom {seed}, size {size}, ink {ink}");
            }
        }
    }

    #[test]
    fn a_radiograph_and_its_side_marker_are_no_writing() {
        for seed in 0..12 {
            assert!(!is_inscribed(&image(seed, "", 2, 0)), "phantom {seed}");
            assert!(
                !is_inscribed(&image(seed, "L", 3, 4095)),
                "phantom {seed} with a letter"
            );
        }
    }

    #[test]
    fn signed_values_and_noise_are_taken_as_they_are() {
        let mut signed = image(1, "SMITH ANNA", 2, 4095);
        let Codes::Words(codes) = &mut signed.codes else {
            panic!()
        };
        for code in codes {
            *code ^= 0x800;
        }
        signed.signed = true;
        assert!(is_inscribed(&signed));
        let noise: Vec<u16> = (0..512 * 384_u32)
            .map(|place| (place.wrapping_mul(2_654_435_761) >> 20) as u16)
            .collect();
        signed.codes = Codes::Words(noise);
        assert!(!is_inscribed(&signed));
    }
}
