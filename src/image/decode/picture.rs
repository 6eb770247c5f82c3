//! A picture file becomes a [`StoredImage`].

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use super::{DecodeError, MAX_PIXELS};
use crate::image::{Cancel, Codes, GreyTransform, StoredImage};

/// Decodes a greyscale PNG or JPEG; one whose colour channels are all equal counts as grey.
///
/// # Errors
/// [`DecodeError::Picture`], [`DecodeError::Colour`] or [`DecodeError::Size`].
pub fn decode_picture(bytes: &[u8]) -> Result<StoredImage, DecodeError> {
    decode_picture_until(bytes, Cancel::NEVER)
}

/// The same, ending early where nobody waits for it any more: a PNG between two pieces of its file, a JPEG before its pixels.
///
/// # Errors
/// As [`decode_picture`], and [`DecodeError::Cancelled`].
pub fn decode_picture_until(bytes: &[u8], cancel: Cancel<'_>) -> Result<StoredImage, DecodeError> {
    let read = || {
        let decoder = opened(bytes, cancel)?.0;
        DynamicImage::from_decoder(decoder).map_err(|_| DecodeError::Picture)
    };
    let picture = match catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(DecodeError::Picture)) {
        Err(DecodeError::Picture) => {
            cancel.check()?;
            return Err(DecodeError::Picture);
        }
        read => read?,
    };
    let (rows, columns) = (picture.height() as usize, picture.width() as usize);
    let channels = usize::from(picture.color().channel_count());
    let (bits_stored, codes) = match &picture {
        DynamicImage::ImageLuma8(_)
        | DynamicImage::ImageLumaA8(_)
        | DynamicImage::ImageRgb8(_)
        | DynamicImage::ImageRgba8(_) => (8, grey(picture.as_bytes(), channels)?),
        DynamicImage::ImageLuma16(picture) => (16, grey(picture, channels)?),
        DynamicImage::ImageLumaA16(picture) => (16, grey(picture, channels)?),
        DynamicImage::ImageRgb16(picture) => (16, grey(picture, channels)?),
        DynamicImage::ImageRgba16(picture) => (16, grey(picture, channels)?),
        _ => return Err(DecodeError::Picture),
    };
    Ok(StoredImage {
        rows,
        columns,
        bits_stored,
        signed: false,
        codes: Codes::Words(codes),
        transform: GreyTransform::default(),
    })
}

/// The bytes that decoding a PNG or JPEG may take, beside its file, as its header says.
///
/// # Errors
/// As [`decode_picture`].
pub fn picture_memory(bytes: &[u8]) -> Result<usize, DecodeError> {
    let read = || {
        let (decoder, format) = opened(bytes, Cancel::NEVER)?;
        let (columns, rows) = decoder.dimensions();
        let pixels = columns as usize * rows as usize;
        let channels = usize::from(decoder.color_type().channel_count());
        let decoded = pixels * usize::from(decoder.color_type().bytes_per_pixel());
        let codes = pixels * size_of::<u16>();
        if format != ImageFormat::Jpeg {
            return Ok(decoded + codes);
        }
        // A progressive one, or one whose components follow each other, lies there as coefficients of whole blocks before it is decoded,
        // beside a copy of the file. What comes as colour may have four components, each at most as large as the picture.
        let components = if channels == 1 { 1 } else { 4 };
        let whole = |side: u32| (side as usize).next_multiple_of(LARGEST_MCU);
        let coefficients = whole(columns) * whole(rows) * components * size_of::<i16>();
        Ok(coefficients + decoded.max(codes) + bytes.len())
    };
    catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(DecodeError::Picture))
}

/// The longest side of what the components of a JPEG have in common (ITU-T T.81 section A.2): four blocks of eight.
const LARGEST_MCU: usize = 32;

/// A file whose header is read, and what it is.
fn opened<'a>(
    bytes: &'a [u8],
    cancel: Cancel<'a>,
) -> Result<(impl ImageDecoder + 'a, ImageFormat), DecodeError> {
    let file = Watched {
        bytes: Cursor::new(bytes),
        cancel,
    };
    let mut reader = ImageReader::new(file)
        .with_guessed_format()
        .map_err(|_| DecodeError::Picture)?;
    let mut limits = Limits::default();
    limits.max_alloc = Some(8 * MAX_PIXELS as u64);
    reader.limits(limits);
    let format = reader.format().ok_or(DecodeError::Picture)?;
    let decoder = reader.into_decoder().map_err(|_| DecodeError::Picture)?;
    // a small file can stand for a very large picture: its header is asked before there is memory for it
    let (columns, rows) = decoder.dimensions();
    let (rows, columns) = (rows as usize, columns as usize);
    if rows.saturating_mul(columns) > MAX_PIXELS {
        return Err(DecodeError::Size { rows, columns });
    }
    Ok((decoder, format))
}

/// The grey of pixels of so many channels, of which an even number's last is opacity.
fn grey<T: Copy + PartialEq + Into<u16>>(samples: &[T], channels: usize) -> Result<Vec<u16>, DecodeError> {
    let colours = if channels > 2 { 3 } else { 1 };
    let mut codes = Vec::with_capacity(samples.len() / channels);
    for pixel in samples.chunks_exact(channels) {
        let value = pixel[0];
        if pixel[..colours].iter().any(|other| *other != value) {
            return Err(DecodeError::Colour);
        }
        codes.push(value.into());
    }
    Ok(codes)
}

/// How much of a file is given out at a time.
const PIECE: usize = 64 << 10;

/// A file that can no longer be read when nobody waits for it.
struct Watched<'a> {
    bytes: Cursor<&'a [u8]>,
    cancel: Cancel<'a>,
}

impl Watched<'_> {
    fn check(&self) -> io::Result<()> {
        self.cancel
            .check()
            .map_err(|_| io::Error::other("nobody waits for it any more"))
    }
}

impl Read for Watched<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.bytes.read(into)
    }
}

impl BufRead for Watched<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.check()?;
        let rest = self.bytes.fill_buf()?;
        Ok(&rest[..rest.len().min(PIECE)])
    }

    fn consume(&mut self, amount: usize) {
        self.bytes.consume(amount);
    }
}

impl Seek for Watched<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(to)
    }
}

#[cfg(test)]
mod tests {
    use ::image::{GrayAlphaImage, GrayImage, ImageBuffer, LumaA, Rgb, RgbImage, Rgba, RgbaImage};

    use super::*;

    fn written(picture: impl Into<DynamicImage>) -> Vec<u8> {
        let mut file = Cursor::new(Vec::new());
        picture.into().write_to(&mut file, ImageFormat::Png).unwrap();
        file.into_inner()
    }

    #[test]
    fn what_is_grey_in_any_number_of_channels_is_the_same_and_colour_is_refused() {
        let grey = |x: u32, y: u32| (x * 31 + y * 7) as u8;
        let plain = GrayImage::from_fn(5, 3, |x, y| ::image::Luma([grey(x, y)]));
        let pictures: [DynamicImage; 4] = [
            plain.into(),
            GrayAlphaImage::from_fn(5, 3, |x, y| LumaA([grey(x, y), 9])).into(),
            RgbImage::from_fn(5, 3, |x, y| Rgb([grey(x, y); 3])).into(),
            RgbaImage::from_fn(5, 3, |x, y| {
                let value = grey(x, y);
                Rgba([value, value, value, 9])
            })
            .into(),
        ];
        let [plain, ..] = &pictures;
        let expected = decode_picture(&written(plain.clone())).unwrap();
        let wide: [DynamicImage; 4] = [
            plain.to_luma16().into(),
            pictures[1].to_luma_alpha16().into(),
            pictures[2].to_rgb16().into(),
            pictures[3].to_rgba16().into(),
        ];
        for picture in pictures {
            assert_eq!(decode_picture(&written(picture)).unwrap(), expected);
        }
        for picture in wide {
            let found = decode_picture(&written(picture)).unwrap();
            assert_eq!(found.bits_stored, 16);
            let narrow: Vec<u16> = found.codes.words(15).iter().map(|code| code >> 8).collect();
            assert_eq!(narrow, expected.codes.words(15));
        }
        let colour = ImageBuffer::from_fn(5, 3, |x, _| Rgb([7_u16, 7, if x == 4 { 8 } else { 7 }]));
        assert_eq!(decode_picture(&written(colour)).unwrap_err(), DecodeError::Colour);
    }

    /// As measured with pictures of a hundred million pixels.
    #[test]
    fn what_a_picture_may_take_is_known_from_its_header() {
        let memory = |columns: u32, rows: u32, components: u8| {
            let sampling: Vec<u8> = (1..=components).flat_map(|id| [id, 0x11, 0]).collect();
            let [y, x] = [rows as u16, columns as u16].map(u16::to_be_bytes);
            let frame = [
                &[
                    0xFF,
                    0xC2,
                    0,
                    8 + 3 * components,
                    8,
                    y[0],
                    y[1],
                    x[0],
                    x[1],
                    components,
                ],
                &sampling[..],
            ]
            .concat();
            let scan = [0xFF, 0xDA, 0, 8, 1, 1, 0, 0, 0, 0, 0xFF, 0xD9];
            let file = [&[0xFF, 0xD8], &frame[..], &scan].concat();
            picture_memory(&file).map(|memory| memory - file.len())
        };
        // coefficients of two bytes, then codes of two bytes
        assert_eq!(memory(9984, 9984, 1), Ok(9984 * 9984 * 4));
        assert_eq!(memory(9984, 9984, 3), Ok(9984 * 9984 * 11));
        assert_eq!(memory(1, 65_000, 1), Ok(32 * 65_024 * 2 + 2 * 65_000));
        let size = DecodeError::Size {
            rows: 10_001,
            columns: 10_000,
        };
        assert_eq!(memory(10_000, 10_001, 1), Err(size));
        let png = written(RgbImage::new(300, 200));
        assert_eq!(picture_memory(&png), Ok(300 * 200 * 5));
        assert_eq!(picture_memory(&png[..9]), Err(DecodeError::Picture));
    }

    #[test]
    fn a_small_file_of_a_very_large_picture_costs_no_memory() {
        // a PNG that ends after its header: whoever began to decode it would say that it cannot be read
        let side = 28_000_u32.to_be_bytes();
        let header = [&b"IHDR"[..], &side, &side, &[8, 0, 0, 0, 0]].concat();
        let mut sum = flate2::Crc::new();
        sum.update(&header);
        let length = (header.len() as u32 - 4).to_be_bytes();
        let data = [0, 0, 0, 0, b'I', b'D', b'A', b'T', 0x35, 0xAF, 0x06, 0x1E];
        let start = b"\x89PNG\r\n\x1A\n";
        let file = [&start[..], &length, &header, &sum.sum().to_be_bytes(), &data].concat();
        assert_eq!(
            decode_picture(&file).unwrap_err(),
            DecodeError::Size {
                rows: 28_000,
                columns: 28_000
            }
        );
    }
}
