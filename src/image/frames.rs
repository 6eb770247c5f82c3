//! Which fragments of encapsulated pixel data belong to a frame (PS3.5 section A.4).

use bytes::Bytes;

/// The fragments of frame `frame` (from 0) of `frames`.
///
/// One frame owns them all; as many fragments as frames means one each; otherwise the Basic Offset Table says where a frame
/// begins, counted in bytes from the first fragment's item tag. `None` where none of this tells.
pub(super) fn fragments_of<'a>(
    frame: usize,
    frames: usize,
    offsets: &[u8],
    fragments: &'a [Bytes],
) -> Option<&'a [Bytes]> {
    if frames == 1 {
        return (frame == 0).then_some(fragments);
    }
    if fragments.len() == frames {
        return fragments.get(frame..=frame);
    }
    let table = offsets.as_chunks::<4>().0;
    if table.len() != frames {
        return None;
    }
    let start_of = |frame: usize| match table.get(frame) {
        Some(offset) => {
            let offset = u32::from_le_bytes(*offset) as usize;
            starts(fragments).position(|start| start == offset)
        }
        None => Some(fragments.len()),
    };
    fragments.get(start_of(frame)?..start_of(frame + 1)?)
}

/// Where each fragment's item begins: a tag and a length of four bytes each stand before its bytes.
fn starts(fragments: &[Bytes]) -> impl Iterator<Item = usize> {
    fragments.iter().scan(0, |at, fragment| {
        let start = *at;
        *at += 8 + fragment.len();
        Some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fragments() -> Vec<Bytes> {
        [4, 6, 2]
            .map(|length| Bytes::from(vec![length; length.into()]))
            .into()
    }

    fn table(offsets: &[u32]) -> Vec<u8> {
        offsets.iter().flat_map(|offset| offset.to_le_bytes()).collect()
    }

    #[test]
    fn one_frame_owns_all_fragments() {
        let all = fragments();
        assert_eq!(fragments_of(0, 1, &[], &all), Some(&all[..]));
        assert_eq!(fragments_of(1, 1, &[], &all), None);
    }

    #[test]
    fn as_many_fragments_as_frames_are_one_each() {
        let all = fragments();
        assert_eq!(fragments_of(1, 3, &[], &all), Some(&all[1..2]));
        assert_eq!(fragments_of(3, 3, &[], &all), None);
    }

    #[test]
    fn the_offset_table_cuts_where_it_says_and_only_there() {
        let all = fragments();
        // the second frame begins behind 8 + 4 + 8 + 6 bytes
        assert_eq!(fragments_of(0, 2, &table(&[0, 26]), &all), Some(&all[..2]));
        assert_eq!(fragments_of(1, 2, &table(&[0, 26]), &all), Some(&all[2..]));
        assert_eq!(
            fragments_of(1, 2, &table(&[0, 27]), &all),
            None,
            "inside a fragment"
        );
        assert_eq!(fragments_of(0, 2, &table(&[26, 0]), &all), None, "backwards");
        assert_eq!(fragments_of(0, 2, &[], &all), None, "no table");
    }
}
