//! Baseline JPEG in colour, by `zune-jpeg`, which is written in Rust: nothing in colour is scored, and nothing that is scored depends on how
//! its inverse DCT rounds.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::CodecError;

/// Decodes one frame of `rows` x `columns` into red, green and blue with eight bits each, pixel by pixel. `is_rgb`: the data set says
/// that the components are these three, which a stream without a marker of its own does not say.
///
/// # Errors
/// [`CodecError::Disagrees`] where the stream has another size, [`CodecError::Colour`] for another number of components,
/// [`CodecError::Damaged`] where it ends early or is no such JPEG.
pub(super) fn decode(
    stream: &[u8],
    rows: usize,
    columns: usize,
    is_rgb: bool,
) -> Result<Vec<u8>, CodecError> {
    let options = DecoderOptions::default()
        .set_max_width(columns)
        .set_max_height(rows)
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(stream), options);
    decoder.decode_headers().map_err(|_| CodecError::Damaged)?;
    if decoder.dimensions() != Some((columns, rows)) {
        return Err(CodecError::Disagrees);
    }
    if decoder.info().is_none_or(|info| info.components != 3) {
        return Err(CodecError::Colour);
    }
    // a JFIF file is in YCbCr, and an Adobe marker or the names of the components say what they are
    let is_silent =
        decoder.input_colorspace() == Some(ColorSpace::YCbCr) && stream.get(6..10) != Some(b"JFIF");
    if is_rgb && is_silent {
        // what is taken for YCbCr and wanted as it is, is not converted
        decoder.set_options(options.jpeg_set_out_colorspace(ColorSpace::YCbCr));
    }
    let samples = decoder.decode().map_err(|_| CodecError::Damaged)?;
    if samples.len() == 3 * rows * columns {
        Ok(samples)
    } else {
        Err(CodecError::Damaged)
    }
}
