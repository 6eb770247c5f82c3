//! Where a body is collected.

use axum::body::Bytes;
use bytes::BytesMut;
use memmap2::MmapMut;

/// From this size on a body has a mapping of its own.
const MAPPED_FROM: usize = 1 << 20;

/// Room for a body of a declared or unknown length.
///
/// A large body of declared length goes into a mapping with huge pages: the system then sets it up in a few steps instead
/// of one for every 4 KiB, which cost a tenth of a request's processor time, and no memory is taken before bytes come.
pub(super) enum Buffer {
    Mapped { map: MmapMut, filled: usize },
    Growing(BytesMut),
}

impl Buffer {
    /// Room for `declared` bytes, or for as many as come.
    pub(super) fn new(declared: Option<usize>) -> Self {
        let length = declared.unwrap_or(0);
        if length >= MAPPED_FROM
            && let Ok(map) = MmapMut::map_anon(length)
        {
            #[cfg(target_os = "linux")]
            // a kernel without huge pages serves small ones
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self::Mapped { map, filled: 0 };
        }
        Self::Growing(BytesMut::with_capacity(length.min(MAPPED_FROM)))
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Mapped { filled, .. } => *filled,
            Self::Growing(bytes) => bytes.len(),
        }
    }

    /// Appends `data`; gives `false`, and takes nothing, where that is more than was declared.
    pub(super) fn push(&mut self, data: &[u8]) -> bool {
        match self {
            Self::Mapped { map, filled } => {
                let Some(room) = map.get_mut(*filled..*filled + data.len()) else {
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
            Self::Mapped { map, filled } => Bytes::from_owner(map).slice(..filled),
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
        let mut full = Buffer::new(Some(MAPPED_FROM));
        assert!(full.push(&vec![7; MAPPED_FROM]));
        assert!(!full.push(b"more than was declared"));
        assert_eq!(full.finish().len(), MAPPED_FROM);
    }
}
