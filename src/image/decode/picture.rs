//! A picture file becomes a [`StoredImage`].

use std::io::{self, BufRead, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

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
        let mut reader = ::image::ImageReader::new(file).with_guessed_format().ok()?;
        let mut limits = ::image::Limits::default();
        limits.max_alloc = Some(8 * MAX_PIXELS as u64);
        reader.limits(limits);
        reader.decode().ok()
    };
    let picture = catch_unwind(AssertUnwindSafe(read)).ok().flatten();
    let Some(picture) = picture else {
        cancel.check()?;
        return Err(DecodeError::Picture);
    };
    let (rows, columns) = (picture.height() as usize, picture.width() as usize);
    if rows * columns > MAX_PIXELS {
        return Err(DecodeError::Size { rows, columns });
    }
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
