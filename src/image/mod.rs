//! Pixels on their way from stored values to a network's input.
//!
//! [`StoredImage`] is what a file holds, [`Plane`] what a reader would see (bone bright, 16-bit), [`Tensor`] what a
//! network takes. Only [`preprocess`] turns one into the next, for training and for serving alike.

pub mod border;
mod cancel;
mod codec;
pub mod codes;
mod colour;
pub mod decode;
mod depths;
pub mod fingerprint;
mod frames;
pub mod grey;
pub mod heatmap;
pub mod inscription;
pub mod lettering;
pub mod mask;
pub mod npy;
pub mod occlusion;
pub mod phantom;
pub mod preprocess;
mod presentation;
pub mod quality;
pub mod raw;
pub mod reduce;
pub mod rendering;
pub mod stored;
pub mod thumbnail;

pub use cancel::{Cancel, Cancelled};
pub use codes::Codes;
pub use grey::{GreyTransform, StoredImage};
pub use quality::Quality;

/// One grey image after modality LUT, VOI LUT, polarity, crop and fit: bone bright, row-major, 0 is black and 65535
/// white. No step before the tensor has fewer than 16 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Height in pixels.
    pub rows: usize,
    /// Width in pixels.
    pub columns: usize,
    /// `rows * columns` values.
    pub values: Vec<u16>,
}

/// The input of a network for one image, without the batch dimension.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tensor {
    /// `[channels, rows, columns]` or `[rows, columns, channels]`, as the contract's layout says.
    pub shape: [usize; 3],
    /// Row-major values after range, mean and standard deviation.
    pub values: Vec<f32>,
}
