//! JPEG XL (ISO/IEC 18181-1), by `jxl-oxide`, which is written in Rust. It cannot be stopped while it renders: that is over in one step.

use jxl_oxide::{AllocTracker, JxlImage, JxlThreadPool, PixelFormat};

use super::{Cancel, CodecError};

/// What a decoder may take for each pixel, and besides: its buffers hold four bytes a sample, several at a time.
const BYTES_PER_PIXEL: usize = 64;
const BYTES_BESIDES: usize = 64 << 20;

/// Decodes one frame of `rows` x `columns` into codes of at most `bits` bits, which the stream's own header must agree with.
///
/// # Errors
/// [`CodecError::Disagrees`] where the stream has another size or more bits, [`CodecError::Damaged`] where it ends early
/// or needs more memory than such an image can, [`CodecError::Colour`] for colour.
pub(super) fn decode(
    stream: &[u8],
    rows: usize,
    columns: usize,
    bits: u32,
    cancel: Cancel<'_>,
) -> Result<Vec<u16>, CodecError> {
    let most = BYTES_PER_PIXEL * rows * columns + BYTES_BESIDES;
    let image = JxlImage::builder()
        .pool(JxlThreadPool::none())
        .alloc_tracker(AllocTracker::with_limit(most))
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
    let frame = image
        .render_frame(0)
        .map_err(|_| CodecError::Damaged)?
        .image_all_channels();
    if (frame.height(), frame.width(), frame.channels()) != (rows, columns, 1) {
        return Err(CodecError::Damaged);
    }
    // samples come as 0 to 1; 24 bits of mantissa give each of at most 16 bits back exactly
    let highest = ((1_u32 << precision) - 1) as f32;
    let code = |sample: &f32| (sample * highest).round().clamp(0.0, highest) as u16;
    Ok(frame.buf().iter().map(code).collect())
}
