//! Words in a picture: the printable characters of ASCII, 5 by 7, in whole multiples of a pixel.

use super::heatmap::Picture;

/// Columns and rows of a character with the gap to the next one.
pub const CELL: [usize; 2] = [6, 9];

/// The characters from space to tilde: five columns each, from left to right, the lowest bit on top; the eighth row is for what
/// hangs below the line.
const GLYPHS: [[u8; 5]; 95] = [
    [0x00, 0x00, 0x00, 0x00, 0x00], // space
    [0x00, 0x00, 0x5F, 0x00, 0x00], // !
    [0x00, 0x07, 0x00, 0x07, 0x00], // "
    [0x14, 0x7F, 0x14, 0x7F, 0x14], // #
    [0x24, 0x2A, 0x7F, 0x2A, 0x12], // $
    [0x23, 0x13, 0x08, 0x64, 0x62], // %
    [0x36, 0x49, 0x56, 0x20, 0x50], // &
    [0x00, 0x00, 0x07, 0x00, 0x00], // '
    [0x00, 0x1C, 0x22, 0x41, 0x00], // (
    [0x00, 0x41, 0x22, 0x1C, 0x00], // )
    [0x14, 0x08, 0x3E, 0x08, 0x14], // *
    [0x08, 0x08, 0x3E, 0x08, 0x08], // +
    [0x00, 0x80, 0x60, 0x00, 0x00], // ,
    [0x08, 0x08, 0x08, 0x08, 0x08], // -
    [0x00, 0x60, 0x60, 0x00, 0x00], // .
    [0x20, 0x10, 0x08, 0x04, 0x02], // /
    [0x3E, 0x51, 0x49, 0x45, 0x3E], // 0
    [0x00, 0x42, 0x7F, 0x40, 0x00], // 1
    [0x42, 0x61, 0x51, 0x49, 0x46], // 2
    [0x21, 0x41, 0x45, 0x4B, 0x31], // 3
    [0x18, 0x14, 0x12, 0x7F, 0x10], // 4
    [0x27, 0x45, 0x45, 0x45, 0x39], // 5
    [0x3C, 0x4A, 0x49, 0x49, 0x30], // 6
    [0x01, 0x71, 0x09, 0x05, 0x03], // 7
    [0x36, 0x49, 0x49, 0x49, 0x36], // 8
    [0x06, 0x49, 0x49, 0x29, 0x1E], // 9
    [0x00, 0x36, 0x36, 0x00, 0x00], // :
    [0x00, 0x80, 0x6C, 0x00, 0x00], // ;
    [0x08, 0x14, 0x22, 0x41, 0x00], // <
    [0x14, 0x14, 0x14, 0x14, 0x14], // =
    [0x00, 0x41, 0x22, 0x14, 0x08], // >
    [0x02, 0x01, 0x51, 0x09, 0x06], // ?
    [0x3E, 0x41, 0x5D, 0x55, 0x1E], // @
    [0x7E, 0x11, 0x11, 0x11, 0x7E], // A
    [0x7F, 0x49, 0x49, 0x49, 0x36], // B
    [0x3E, 0x41, 0x41, 0x41, 0x22], // C
    [0x7F, 0x41, 0x41, 0x22, 0x1C], // D
    [0x7F, 0x49, 0x49, 0x49, 0x41], // E
    [0x7F, 0x09, 0x09, 0x09, 0x01], // F
    [0x3E, 0x41, 0x49, 0x49, 0x7A], // G
    [0x7F, 0x08, 0x08, 0x08, 0x7F], // H
    [0x00, 0x41, 0x7F, 0x41, 0x00], // I
    [0x20, 0x40, 0x41, 0x3F, 0x01], // J
    [0x7F, 0x08, 0x14, 0x22, 0x41], // K
    [0x7F, 0x40, 0x40, 0x40, 0x40], // L
    [0x7F, 0x02, 0x0C, 0x02, 0x7F], // M
    [0x7F, 0x04, 0x08, 0x10, 0x7F], // N
    [0x3E, 0x41, 0x41, 0x41, 0x3E], // O
    [0x7F, 0x09, 0x09, 0x09, 0x06], // P
    [0x3E, 0x41, 0x51, 0x21, 0x5E], // Q
    [0x7F, 0x09, 0x19, 0x29, 0x46], // R
    [0x46, 0x49, 0x49, 0x49, 0x31], // S
    [0x01, 0x01, 0x7F, 0x01, 0x01], // T
    [0x3F, 0x40, 0x40, 0x40, 0x3F], // U
    [0x1F, 0x20, 0x40, 0x20, 0x1F], // V
    [0x3F, 0x40, 0x38, 0x40, 0x3F], // W
    [0x63, 0x14, 0x08, 0x14, 0x63], // X
    [0x07, 0x08, 0x70, 0x08, 0x07], // Y
    [0x61, 0x51, 0x49, 0x45, 0x43], // Z
    [0x00, 0x7F, 0x41, 0x41, 0x00], // [
    [0x02, 0x04, 0x08, 0x10, 0x20], // \
    [0x00, 0x41, 0x41, 0x7F, 0x00], // ]
    [0x04, 0x02, 0x01, 0x02, 0x04], // ^
    [0x80, 0x80, 0x80, 0x80, 0x80], // _
    [0x00, 0x01, 0x02, 0x04, 0x00], // `
    [0x20, 0x54, 0x54, 0x54, 0x78], // a
    [0x7F, 0x48, 0x44, 0x44, 0x38], // b
    [0x38, 0x44, 0x44, 0x44, 0x20], // c
    [0x38, 0x44, 0x44, 0x48, 0x7F], // d
    [0x38, 0x54, 0x54, 0x54, 0x18], // e
    [0x08, 0x7E, 0x09, 0x01, 0x02], // f
    [0x18, 0xA4, 0xA4, 0xA4, 0x7C], // g
    [0x7F, 0x08, 0x04, 0x04, 0x78], // h
    [0x00, 0x44, 0x7D, 0x40, 0x00], // i
    [0x40, 0x80, 0x84, 0x7D, 0x00], // j
    [0x7F, 0x10, 0x28, 0x44, 0x00], // k
    [0x00, 0x41, 0x7F, 0x40, 0x00], // l
    [0x7C, 0x04, 0x18, 0x04, 0x78], // m
    [0x7C, 0x08, 0x04, 0x04, 0x78], // n
    [0x38, 0x44, 0x44, 0x44, 0x38], // o
    [0xFC, 0x24, 0x24, 0x24, 0x18], // p
    [0x18, 0x24, 0x24, 0x24, 0xFC], // q
    [0x7C, 0x08, 0x04, 0x04, 0x08], // r
    [0x48, 0x54, 0x54, 0x54, 0x20], // s
    [0x04, 0x3F, 0x44, 0x40, 0x20], // t
    [0x3C, 0x40, 0x40, 0x20, 0x7C], // u
    [0x1C, 0x20, 0x40, 0x20, 0x1C], // v
    [0x3C, 0x40, 0x30, 0x40, 0x3C], // w
    [0x44, 0x28, 0x10, 0x28, 0x44], // x
    [0x1C, 0xA0, 0xA0, 0xA0, 0x7C], // y
    [0x44, 0x64, 0x54, 0x4C, 0x44], // z
    [0x00, 0x08, 0x36, 0x41, 0x00], // {
    [0x00, 0x00, 0x7F, 0x00, 0x00], // |
    [0x00, 0x41, 0x36, 0x08, 0x00], // }
    [0x08, 0x04, 0x08, 0x10, 0x08], // ~
];

/// Most characters of a line of a caption; the rest of a longer one is left out.
const LONGEST_LINE: usize = 48;
/// How large the pixels of a letter are, at least and at most.
const SIZES: [usize; 2] = [2, 6];

/// The picture under a black band with `lines` in it, as large as its width allows and never too small to be read: a narrow picture
/// becomes as wide as its caption.
#[must_use]
pub fn captioned(picture: &Picture, lines: &[&str]) -> Picture {
    let lines: Vec<String> = lines
        .iter()
        .map(|line| line.chars().take(LONGEST_LINE).collect())
        .collect();
    // with a margin of a character on either side
    let longest = lines.iter().map(|line| line.chars().count()).max().unwrap_or(0) + 2;
    let size = (picture.columns / (longest * CELL[0])).clamp(SIZES[0], SIZES[1]);
    let columns = picture.columns.max(longest * CELL[0] * size);
    let margin = CELL[1] * size / 2;
    let band = lines.len() * CELL[1] * size + 2 * margin;
    let mut captioned = Picture {
        rows: picture.rows + band,
        columns,
        values: vec![0; (picture.rows + band) * columns * 3],
    };
    let left = (columns - picture.columns) / 2;
    for (row, pixels) in picture
        .values
        .chunks_exact(picture.columns.max(1) * 3)
        .enumerate()
    {
        let start = ((band + row) * columns + left) * 3;
        captioned.values[start..start + pixels.len()].copy_from_slice(pixels);
    }
    for (place, line) in lines.iter().enumerate() {
        let corner = [margin + place * CELL[1] * size, CELL[0] * size];
        write(&mut captioned, line, corner, size);
    }
    captioned
}

/// Writes `line` in white with the upper left corner of its first character at `row` and `column`, each of its pixels as a square of
/// `size` pixels. What is no printable ASCII is a question mark; what lies outside the picture is left out.
pub fn write(picture: &mut Picture, line: &str, [row, column]: [usize; 2], size: usize) {
    for (place, character) in line.chars().enumerate() {
        for (across, bits) in glyph(character).into_iter().enumerate() {
            for down in (0..8).filter(|down| bits >> down & 1 == 1) {
                let left = column + (place * CELL[0] + across) * size;
                fill(picture, [row + down * size, left], size);
            }
        }
    }
}

fn glyph(character: char) -> [u8; 5] {
    let place = |character: char| (character as usize).checked_sub(' ' as usize);
    let known = place(character).and_then(|place| GLYPHS.get(place));
    *known.unwrap_or(&GLYPHS['?' as usize - ' ' as usize])
}

fn fill(picture: &mut Picture, [row, column]: [usize; 2], size: usize) {
    let columns = column.min(picture.columns)..(column + size).min(picture.columns);
    for row in row..(row + size).min(picture.rows) {
        let start = row * picture.columns;
        let pixels = (start + columns.start) * 3..(start + columns.end) * 3;
        picture.values[pixels].fill(u8::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(line: &str, size: usize) -> Vec<String> {
        let mut picture = Picture {
            rows: CELL[1] * size,
            columns: CELL[0] * size * line.chars().count(),
            values: vec![0; CELL[0] * CELL[1] * size * size * 3 * line.chars().count()],
        };
        write(&mut picture, line, [0, 0], size);
        let rows = picture.values.chunks(picture.columns * 3);
        rows.map(|row| {
            row.chunks(3)
                .map(|pixel| if pixel[0] > 0 { '#' } else { '.' })
                .collect()
        })
        .collect()
    }

    #[test]
    fn letters_look_like_letters() {
        assert_eq!(
            written("AIg", 1),
            [
                ".###...###........",
                "#...#...#.........",
                "#...#...#....####.",
                "#...#...#...#...#.",
                "#####...#...#...#.",
                "#...#...#....####.",
                "#...#..###......#.",
                ".............###..",
                "..................",
            ]
        );
    }

    #[test]
    fn a_larger_letter_is_the_same_letter() {
        let (small, large) = (written("R", 1), written("R", 3));
        for (row, line) in large.iter().enumerate() {
            let expected: String = small[row / 3].chars().flat_map(|c| [c, c, c]).collect();
            assert_eq!(*line, expected);
        }
    }

    #[test]
    fn a_caption_fits_and_hides_nothing_whatever_the_size_of_the_picture() {
        for (rows, columns) in [(1, 1), (96, 64), (672, 672), (1536, 1536), (1536, 3)] {
            let picture = Picture {
                rows,
                columns,
                values: vec![100; rows * columns * 3],
            };
            let captioned = captioned(&picture, &["AI, not for diagnosis", "evidence for osteoporosis"]);
            assert_eq!(captioned.values.len(), captioned.rows * captioned.columns * 3);
            assert!(
                captioned.rows.max(captioned.columns) <= 2048,
                "{rows} by {columns}"
            );
            let of_picture = captioned.values.chunks(1).filter(|value| value[0] == 100).count();
            assert_eq!(of_picture, rows * columns * 3, "{rows} by {columns}");
            // the last column of the longer line has room behind it
            let lit = |column: usize| {
                let rows = captioned.values.chunks(captioned.columns * 3);
                rows.take(40).filter(|row| row[column * 3] == 255).count()
            };
            assert_eq!(lit(captioned.columns - 1), 0);
            assert!((0..captioned.columns).map(lit).sum::<usize>() > 400);
        }
    }

    #[test]
    fn what_is_no_ascii_or_lies_outside_does_no_harm() {
        assert_eq!(written("é", 1), written("?", 1));
        assert_eq!(written("\u{0}", 1), written("?", 1));
        let mut picture = Picture {
            rows: 3,
            columns: 2,
            values: vec![0; 18],
        };
        write(&mut picture, "HHH", [1, 1], 2);
        assert_eq!(picture.values.len(), 18);
        assert!(picture.values[9..12].iter().all(|value| *value == 255));
    }
}
