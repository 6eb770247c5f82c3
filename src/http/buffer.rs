//! Where a body is collected.

use axum::body::Bytes;
use bytes::BytesMut;

use crate::pages::Pages;

/// Room for a body of a declared or unknown length.
///
/// A large body of declared length goes into pages of its own; nobody sees what was in them before.
pub(super) enum Buffer {
    Declared { pages: Pages, filled: usize },
    Growing(BytesMut),
}

impl Buffer {
    /// Room for `declared` bytes, or for as many as come.
    pub(super) fn new(declared: Option<usize>) -> Self {
        let length = declared.unwrap_or(0);
        if length >= Pages::FROM {
            return Self::Declared {
                pages: Pages::any(length),
                filled: 0,
            };
        }
        Self::Growing(BytesMut::with_capacity(length.min(Pages::FROM)))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Declared { filled, .. } => *filled,
            Self::Growing(bytes) => bytes.len(),
        }
    }

    /// Appends `data`; gives `false`, and takes nothing, where that is more than was declared.
    pub(super) fn push(&mut self, data: &[u8]) -> bool {
        match self {
            Self::Declared { pages, filled } => {
                let Some(room) = pages.bytes().get_mut(*filled..*filled + data.len()) else {
                    return false;
                };
                room.copy_from_slice(data);
                *filled += data.len();
            }
            Self::Growing(bytes) => bytes.extend_from_slice(data),
        }
        true
    }

    /// What was collected.
    pub(super) fn finish(self) -> Bytes {
        match self {
            Self::Declared { pages, filled } => pages.freeze().slice(..filled),
            Self::Growing(bytes) => bytes.freeze(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_back_what_was_put_in_whatever_was_declared() {
        for declared in [None, Some(5), Some(3 << 20)] {
            let mut buffer = Buffer::new(declared);
            assert!(buffer.push(b"abc"));
            assert!(buffer.push(b"de"));
            assert_eq!(buffer.len(), 5);
            assert_eq!(buffer.finish(), "abcde");
        }
        let mut full = Buffer::new(Some(Pages::FROM));
        assert!(full.push(&vec![7; Pages::FROM]));
        assert!(!full.push(b"more than was declared"));
        assert_eq!(full.finish().len(), Pages::FROM);
    }
}
