//! Memory for what is as large as a radiograph, in huge pages.
//!
//! Ten megabytes of fresh memory cost 2,500 interruptions in pages of 4 KiB, and five in huge ones: more processor time
//! than most of what is then done with them.

use bytes::Bytes;
use memmap2::MmapMut;

/// Zeroed memory from the system, which takes it when it is first written to; a large one comes in huge pages where the
/// system has them.
pub(crate) enum Pages {
    /// A mapping of its own, and how much of it was asked for.
    Mapped(MmapMut, usize),
    /// Too little for one, or the system gave none.
    Heap(Vec<u8>),
}

impl Pages {
    /// From this size on memory is mapped.
    pub(crate) const FROM: usize = 1 << 20;

    /// What a mapping's size is a multiple of: that of a huge page on most processors. The system lays only such a mapping
    /// where huge pages begin, and only whole ones are huge.
    const WHOLE: usize = 2 << 20;

    /// `length` bytes, all zero.
    pub(crate) fn zeroed(length: usize) -> Self {
        if length >= Self::FROM
            && let Ok(map) = MmapMut::map_anon(length.next_multiple_of(Self::WHOLE))
        {
            #[cfg(target_os = "linux")]
            // a kernel without huge pages serves small ones
            let _ = map.advise(memmap2::Advice::HugePage);
            return Self::Mapped(map, length);
        }
        Self::Heap(vec![0; length])
    }

    /// All of the bytes.
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        match self {
            Self::Mapped(map, length) => &mut map[..*length],
            Self::Heap(bytes) => bytes,
        }
    }

    /// The bytes for everyone to read, without a copy.
    pub(crate) fn freeze(self) -> Bytes {
        match self {
            Self::Mapped(map, length) => Bytes::from_owner(map).slice(..length),
            Self::Heap(bytes) => bytes.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_zeroed_and_keeps_what_is_written_whatever_its_size() {
        for length in [0, 5, Pages::FROM + 1] {
            let mut pages = Pages::zeroed(length);
            assert!(pages.bytes().iter().all(|byte| *byte == 0));
            if let Some(last) = pages.bytes().last_mut() {
                *last = 7;
            }
            let bytes = pages.freeze();
            assert_eq!(bytes.len(), length);
            assert!(bytes.last().is_none_or(|last| *last == 7));
        }
    }
}
