//! JPEG XL (ISO/IEC 18181-1), by `jxl-oxide`, which is written in Rust. It cannot be stopped while it renders: that is over in one step.

use jxl_oxide::{AllocTracker, JxlImage, JxlThreadPool, PixelFormat};

use super::{Cancel, CodecError};

/// What the decoder may take for each pixel of a stream that is lossless, and of any other, and besides: a lossless one needs 13 bytes at
/// most, a lossy one or a recompressed JPEG 25, for its three components lie there as coefficients and as samples.
const LOSSLESS: usize = 16;
const LOSSY: usize = 32;
const BESIDES: usize = 32 << 20;

/// The bytes that decoding so many pixels may take, with the pixels.
pub(super) fn memory(pixels: usize, is_lossless: bool) -> usize {
    most(pixels, is_lossless) + pixels * size_of::<u16>()
}

fn most(pixels: usize, is_lossless: bool) -> usize {
    pixels * if is_lossless { LOSSLESS } else { LOSSY } + BESIDES
}

/// Decodes one frame of `rows` x `columns` into codes of at most `bits` bits, which the stream's own header must agree with.
///
/// # Errors
/// [`CodecError::Disagrees`] where the stream has another size or more bits, [`CodecError::Damaged`] where it ends early
/// or needs more than [`memory`], [`CodecError::Colour`] for colour.
pub(super) fn decode(
    stream: &[u8],
    rows: usize,
    columns: usize,
    bits: u32,
    is_lossless: bool,
    cancel: Cancel<'_>,
) -> Result<Vec<u16>, CodecError> {
    let image = JxlImage::builder()
        .pool(JxlThreadPool::none())
        .alloc_tracker(AllocTracker::with_limit(most(rows * columns, is_lossless)))
        .read(stream)
        .map_err(|_| CodecError::Damaged)?;
    if image.pixel_format() != PixelFormat::Gray {
        return Err(CodecError::Colour);
    }
    let precision = match image.image_header().metadata.bit_depth {
        jxl_oxide::image::BitDepth::IntegerSample { bits_per_sample } => bits_per_sample,
        jxl_oxide::image::BitDepth::FloatSample { .. } => return Err(CodecError::Disagrees),
    };
    let size = (image.height() as usize, image.width() as usize);
    if size != (rows, columns) || precision == 0 || precision > bits {
        return Err(CodecError::Disagrees);
    }
    if !image.is_loading_done() || image.num_loaded_keyframes() != 1 {
        return Err(CodecError::Damaged);
    }
    cancel.check()?;
    let frame = image.render_frame(0).map_err(|_| CodecError::Damaged)?;
    let mut samples = frame.stream();
    let size = (samples.height() as usize, samples.width() as usize);
    if (size, samples.channels()) != ((rows, columns), 1) {
        return Err(CodecError::Damaged);
    }
    // samples come as 0 to 1; 24 bits of mantissa give each of at most 16 bits back exactly
    let highest = ((1_u32 << precision) - 1) as f32;
    let code = |sample: &f32| (sample * highest).round().clamp(0.0, highest) as u16;
    let mut codes = Vec::with_capacity(rows * columns);
    let mut line = vec![0.0_f32; columns];
    for _ in 0..rows {
        if samples.write_to_buffer(&mut line) != columns {
            return Err(CodecError::Damaged);
        }
        codes.extend(line.iter().map(code));
    }
    Ok(codes)
}
