//! In what two images are the same.

use super::near::Form;

/// In what two images are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sameness {
    /// The bytes of their files.
    Bytes,
    /// Their SOP Instance UID.
    Instance,
    /// What is seen, whichever way.
    Picture(Form),
}

impl Sameness {
    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Instance => "instance",
            Self::Picture(Form { mirrored, inverted }) => match (mirrored, inverted) {
                (false, false) => "picture",
                (true, false) => "picture mirrored",
                (false, true) => "picture inverted",
                (true, true) => "picture mirrored and inverted",
            },
        }
    }
}

/// Two images that are the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Duplicate {
    pub(super) first: usize,
    pub(super) second: usize,
    pub(super) sameness: Sameness,
    pub(super) likeness: f32,
}
