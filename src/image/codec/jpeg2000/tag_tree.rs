//! Tag trees (ITU-T T.800 section B.10.2), and the bits of packet headers (section B.10.1).

use super::CodecError;

/// The bits of a packet header; behind a byte 0xFF one stuffed bit is left out.
pub(super) struct HeaderBits<'a> {
    bytes: &'a [u8],
    at: usize,
    current: u8,
    left: u32,
}

impl<'a> HeaderBits<'a> {
    pub(super) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self {
            bytes,
            at,
            current: 0,
            left: 0,
        }
    }

    pub(super) fn bit(&mut self) -> Result<u32, CodecError> {
        if self.left == 0 {
            self.left = if self.current == 0xFF { 7 } else { 8 };
            self.current = *self.bytes.get(self.at).ok_or(CodecError::Damaged)?;
            self.at += 1;
        }
        self.left -= 1;
        Ok(u32::from(self.current >> self.left & 1))
    }

    /// At most 32 bits, the highest first.
    pub(super) fn bits(&mut self, count: u32) -> Result<u32, CodecError> {
        (0..count).try_fold(0, |value, _| Ok(value << 1 | self.bit()?))
    }

    /// Where the header ends: behind a last byte 0xFF there is one more.
    pub(super) fn end(self) -> usize {
        self.at + usize::from(self.current == 0xFF)
    }
}

#[derive(Clone, Copy, Default)]
struct Node {
    /// What the value is at least.
    least: u32,
    known: bool,
}

/// A tag tree over a grid of leaves.
pub(super) struct TagTree {
    /// Width and first node of each level, the leaves first.
    levels: Vec<(usize, usize)>,
    nodes: Vec<Node>,
}

impl TagTree {
    pub(super) fn new([width, height]: [u32; 2]) -> Self {
        let (mut width, mut height) = (width as usize, height as usize);
        let (mut levels, mut count) = (Vec::new(), 0);
        while width * height > 0 {
            levels.push((width, count));
            count += width * height;
            if width * height == 1 {
                break;
            }
            (width, height) = (width.div_ceil(2), height.div_ceil(2));
        }
        Self {
            levels,
            nodes: vec![Node::default(); count],
        }
    }

    /// Reads on until the value of the leaf with this index is known or at least `threshold`; gives the value if it is
    /// below that.
    pub(super) fn value(
        &mut self,
        leaf: usize,
        threshold: u32,
        bits: &mut HeaderBits<'_>,
    ) -> Result<Option<u32>, CodecError> {
        let width = self.levels.first().map_or(1, |level| level.0);
        let (x, y) = (leaf % width, leaf / width);
        let mut least = 0;
        let mut known = false;
        for (level, (width, first)) in self.levels.iter().enumerate().rev() {
            let node = &mut self.nodes[first + (y >> level) * width + (x >> level)];
            node.least = node.least.max(least);
            while !node.known && node.least < threshold {
                if bits.bit()? == 1 {
                    node.known = true;
                } else {
                    node.least += 1;
                }
            }
            (least, known) = (node.least, node.known);
        }
        Ok((known && least < threshold).then_some(least))
    }
}
