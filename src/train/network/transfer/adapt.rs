//! A tensor made to fit a parameter, or the reason why it cannot.

use super::super::weights::TensorF32;
use super::report::How;

/// What a parameter needs.
pub(super) struct Fitting<'a> {
    /// Its shape.
    pub(super) shape: &'a [usize],
    /// Whether its second size is the number of the image's channels.
    pub(super) reads_image: bool,
}

/// The parameter's numbers, row-major, and how they came about.
pub(super) fn adapt(tensor: &TensorF32, needed: &Fitting<'_>) -> Result<(Vec<f32>, How), String> {
    let how = fits(tensor, needed)?;
    let values = match how {
        How::AsItIs | How::Reshaped => tensor.values.clone(),
        How::Summed => over_colours(tensor, |colours| vec![colours.iter().sum()]),
        How::Spread => {
            let channels = needed.shape[1];
            over_colours(tensor, |grey| vec![grey[0] / channels as f32; channels])
        }
    };
    Ok((values, how))
}

/// How a tensor can become what is needed.
pub(super) fn fits(tensor: &TensorF32, needed: &Fitting<'_>) -> Result<How, String> {
    let found = tensor.shape.as_slice();
    if found == needed.shape {
        return Ok(How::AsItIs);
    }
    if let ([outputs, colours, rows, columns], [needed_outputs, channels, needed_rows, needed_columns]) =
        (found, needed.shape)
        && needed.reads_image
        && [outputs, rows, columns] == [needed_outputs, needed_rows, needed_columns]
    {
        match (colours, channels) {
            (3, 1) => return Ok(How::Summed),
            (1, 3) => return Ok(How::Spread),
            _ => {}
        }
    }
    // a matrix over all channels, or over the channels and pixels of a whole map, is a convolution
    let count: usize = needed.shape.iter().product();
    let matrix = found.len() == 2 || needed.shape.len() == 2;
    if matrix && found.first() == needed.shape.first() && tensor.values.len() == count {
        return Ok(How::Reshaped);
    }
    // layer scale is kept with or without the sizes of 1
    let real = |shape: &[usize]| {
        shape
            .iter()
            .copied()
            .filter(|size| *size != 1)
            .collect::<Vec<_>>()
    };
    if real(found) == real(needed.shape) {
        return Ok(How::Reshaped);
    }
    Err(format!(
        "the file has {found:?}, the network needs {:?}",
        needed.shape
    ))
}

/// A kernel of `[outputs, colours, rows, columns]` with other colours: `change` makes those of one place.
fn over_colours(kernel: &TensorF32, change: impl Fn(&[f32]) -> Vec<f32>) -> Vec<f32> {
    let (outputs, colours) = (kernel.shape[0], kernel.shape[1]);
    let pixels: usize = kernel.shape[2..].iter().product();
    let mut values = Vec::new();
    for output in 0..outputs {
        let own = &kernel.values[output * colours * pixels..][..colours * pixels];
        let changed: Vec<Vec<f32>> = (0..pixels)
            .map(|pixel| {
                let place: Vec<f32> = own.iter().skip(pixel).step_by(pixels).copied().collect();
                change(&place)
            })
            .collect();
        for channel in 0..changed.first().map_or(0, Vec::len) {
            values.extend(changed.iter().map(|place| place[channel]));
        }
    }
    values
}
