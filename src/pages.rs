//! Memory for what is as large as a radiograph, in huge pages.
//!
//! Ten megabytes of fresh memory cost 2,500 interruptions in pages of 4 KiB, and five in huge ones: more processor time
//! than most of what is then done with them.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use memmap2::MmapMut;

/// The most that is kept of what was given back: a few radiographs.
const KEPT: usize = 32 << 20;

/// What was given back and is kept for the next: the system would have to clear its pages anew, which costs as much as receiving a
/// body does.
static SPARE: Mutex<Vec<MmapMut>> = Mutex::new(Vec::new());

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

    /// `length` bytes with anything in them: for those who write before they read.
    pub(crate) fn any(length: usize) -> Self {
        if length < Self::FROM {
            return Self::zeroed(length);
        }
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        // one that is much too large would be held for a small body
        let fits = |map: &MmapMut| map.len() >= length && map.len() <= length.saturating_mul(2);
        if let Some(index) = spare.iter().position(fits) {
            return Self::Mapped(spare.swap_remove(index), length);
        }
        drop(spare);
        Self::zeroed(length)
    }

    /// A copy of bytes whose own memory is wanted for something else.
    pub(crate) fn copy_of(bytes: &[u8]) -> Bytes {
        let mut pages = Self::any(bytes.len());
        pages.bytes().copy_from_slice(bytes);
        pages.freeze()
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
            Self::Mapped(map, length) => Bytes::from_owner(Shared(Some(map))).slice(..length),
            Self::Heap(bytes) => bytes.into(),
        }
    }
}

/// A mapping that is kept for the next when nobody reads it any more.
struct Shared(Option<MmapMut>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(map) = self.0.take() else { return };
        let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = spare.iter().map(|map| map.len()).sum();
        if kept + map.len() <= KEPT {
            spare.push(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_given_back_is_used_again_and_zeroed_is_always_zero() {
        // a size that no other test asks for
        let length = 7 * Pages::WHOLE + 5;
        let mut pages = Pages::any(length);
        pages.bytes()[0] = 7;
        let bytes = pages.freeze();
        let (address, part) = (bytes.as_ptr(), bytes.slice(..1));
        drop(bytes);
        assert_ne!(Pages::any(length).bytes().as_ptr(), address, "it is still read");
        drop(part);
        let mut again = Pages::any(length);
        assert_eq!((again.bytes().as_ptr(), again.bytes()[0]), (address, 7));
        drop(again.freeze());
        assert!(Pages::zeroed(length).bytes().iter().all(|byte| *byte == 0));
    }

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
