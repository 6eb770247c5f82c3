//! A picture file becomes a [`StoredImage`].

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use ::image::ImageDecoder as _;

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
        let file = Watched {
            bytes: Cursor::new(bytes),
            cancel,
        };
        let mut reader = ::image::ImageReader::new(file)
            .with_guessed_format()
            .map_err(|_| DecodeError::Picture)?;
        let mut limits = ::image::Limits::default();
        limits.max_alloc = Some(8 * MAX_PIXELS as u64);
        reader.limits(limits);
        let decoder = reader.into_decoder().map_err(|_| DecodeError::Picture)?;
        // a small file can stand for a very large picture: its header is asked before there is memory for it
        let (columns, rows) = decoder.dimensions();
        let (rows, columns) = (rows as usize, columns as usize);
        if rows.saturating_mul(columns) > MAX_PIXELS {
            return Err(DecodeError::Size { rows, columns });
        }
        ::image::DynamicImage::from_decoder(decoder).map_err(|_| DecodeError::Picture)
    };
    let picture = match catch_unwind(AssertUnwindSafe(read)).unwrap_or(Err(DecodeError::Picture)) {
        Err(DecodeError::Picture) => {
            cancel.check()?;
            return Err(DecodeError::Picture);
        }
        read => read?,
    };
    let (rows, columns) = (picture.height() as usize, picture.width() as usize);
    let (bits_stored, codes) = match picture {
        ::image::DynamicImage::ImageLuma8(grey) => (8, grey.into_raw().into_iter().map(u16::from).collect()),
        ::image::DynamicImage::ImageLuma16(grey) => (16, grey.into_raw()),
        other => {
            let sixteen = matches!(
                other.color().bytes_per_pixel() / other.color().channel_count(),
                2..
            );
            let colour = other.into_rgb16();
            if colour
                .pixels()
                .any(|pixel| pixel.0[0] != pixel.0[1] || pixel.0[1] != pixel.0[2])
            {
                return Err(DecodeError::Colour);
            }
            let shift = if sixteen { 0 } else { 8 };
            (
                16 - shift,
                colour.pixels().map(|pixel| pixel.0[0] >> shift).collect(),
            )
        }
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
    use super::*;

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
