//! Packets: which code-blocks have which bytes (ITU-T T.800 sections B.9 to B.12).

use super::CodecError;
use super::block::{HIGH_THROUGHPUT, most_passes};
use super::codestream::{Progression, Tile};
use super::layout::{CodeBlock, Resolution, Segment};
use super::tag_tree::HeaderBits;

/// Reads all packets of a tile.
///
/// # Errors
/// [`CodecError::Damaged`] where one is missing or cut short.
pub(super) fn read(tile: &Tile<'_>, resolutions: &mut [Resolution]) -> Result<(), CodecError> {
    let mut reader = Reader {
        packets: &tile.packets,
        at: 0,
        style: tile.coding.style,
        // how many layers of each precinct have been read: a packet comes once, whatever progressions name it
        layers: resolutions
            .iter()
            .map(|resolution| vec![0; (resolution.precincts[0] * resolution.precincts[1]) as usize])
            .collect(),
    };
    for volume in &tile.volumes {
        let [from, to] = volume.resolutions.map(|edge| edge as usize);
        let range = from.min(to)..to;
        match volume.progression {
            Progression::Lrcp => {
                for layer in 0..volume.layers {
                    for index in range.clone() {
                        reader.precincts(resolutions, index, layer)?;
                    }
                }
            }
            Progression::Rlcp => {
                for index in range {
                    for layer in 0..volume.layers {
                        reader.precincts(resolutions, index, layer)?;
                    }
                }
            }
            Progression::Rpcl => {
                for index in range {
                    for precinct in 0..reader.layers[index].len() {
                        for layer in 0..volume.layers {
                            reader.packet(resolutions, index, precinct, layer)?;
                        }
                    }
                }
            }
            Progression::Pcrl => {
                let mut places = places(tile, &resolutions[range.clone()], range.start);
                places.sort_unstable();
                for (_, _, index, precinct) in places {
                    for layer in 0..volume.layers {
                        reader.packet(resolutions, index, precinct, layer)?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// Top and left of every precinct on the reference grid (section B.12.1.4), with its resolution and number.
fn places(tile: &Tile<'_>, resolutions: &[Resolution], first: usize) -> Vec<(u64, u64, usize, usize)> {
    let mut places = Vec::new();
    for (offset, resolution) in resolutions.iter().enumerate() {
        let depth = tile.coding.levels - (first + offset) as u32;
        let across = resolution.precincts[0] as usize;
        for number in 0..across * resolution.precincts[1] as usize {
            let place = [number % across, number / across];
            let [x, y] = [0, 1].map(|axis| {
                let start = resolution.area[axis];
                let size = resolution.precinct[axis];
                if place[axis] == 0 && start & ((1 << size) - 1) != 0 {
                    u64::from(tile.area[axis])
                } else {
                    (u64::from(start >> size) + place[axis] as u64) << size << depth
                }
            });
            places.push((y, x, first + offset, number));
        }
    }
    places
}

struct Reader<'a> {
    packets: &'a [u8],
    at: usize,
    style: u8,
    layers: Vec<Vec<u32>>,
}

impl Reader<'_> {
    fn precincts(
        &mut self,
        resolutions: &mut [Resolution],
        index: usize,
        layer: u32,
    ) -> Result<(), CodecError> {
        for precinct in 0..self.layers[index].len() {
            self.packet(resolutions, index, precinct, layer)?;
        }
        Ok(())
    }

    fn packet(
        &mut self,
        resolutions: &mut [Resolution],
        index: usize,
        precinct: usize,
        layer: u32,
    ) -> Result<(), CodecError> {
        let next = &mut self.layers[index][precinct];
        if *next != layer {
            return Ok(());
        }
        *next += 1;
        // start of packet (section A.8.1): neither it nor the end of a header can be anything else here
        if self.packets[self.at..].starts_with(&[0xFF, 0x91]) {
            self.at += 6;
        }
        let mut bits = HeaderBits::new(self.packets, self.at);
        let mut lengths = Vec::new();
        let filled = bits.bit()? == 1;
        for (band, bands) in resolutions[index].bands.iter_mut().enumerate() {
            if !filled {
                break;
            }
            let planes = bands.planes;
            let precinct = &mut bands.precincts[precinct];
            for (number, block) in precinct.blocks.iter_mut().enumerate() {
                let included = if block.zero_planes.is_some() {
                    bits.bit()? == 1
                } else {
                    precinct.inclusion.value(number, layer + 1, &mut bits)?.is_some()
                };
                if !included {
                    continue;
                }
                if block.zero_planes.is_none() {
                    let zero = precinct.zero_planes.value(number, planes + 1, &mut bits)?;
                    block.zero_planes = Some(zero.ok_or(CodecError::Damaged)?);
                }
                let passes = passes(&mut bits)?;
                while bits.bit()? == 1 {
                    block.length_bits += 1;
                }
                if block.length_bits > 31 {
                    return Err(CodecError::Damaged);
                }
                segments(block, passes, self.style, &mut bits, |segment, length| {
                    lengths.push((band, number, segment, length));
                })?;
            }
        }
        self.at = bits.end();
        if self
            .packets
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(&[0xFF, 0x92]))
        {
            self.at += 2;
        }
        for (band, number, segment, length) in lengths {
            let end = self.at + length;
            if end > self.packets.len() {
                return Err(CodecError::Damaged);
            }
            let block = &mut resolutions[index].bands[band].precincts[precinct].blocks[number];
            block.segments[segment].pieces.push(self.at..end);
            self.at = end;
        }
        if self.at > self.packets.len() {
            return Err(CodecError::Damaged);
        }
        Ok(())
    }
}

/// How many coding passes a packet adds (T.800 table B.4).
fn passes(bits: &mut HeaderBits<'_>) -> Result<u32, CodecError> {
    if bits.bit()? == 0 {
        return Ok(1);
    }
    if bits.bit()? == 0 {
        return Ok(2);
    }
    Ok(match bits.bits(2)? {
        3 => match bits.bits(5)? {
            31 => 37 + bits.bits(7)?,
            few => 6 + few,
        },
        few => 3 + few,
    })
}

/// Distributes new passes over codeword segments, and reads the length of each (section B.10.7).
fn segments(
    block: &mut CodeBlock,
    mut passes: u32,
    style: u8,
    bits: &mut HeaderBits<'_>,
    mut add: impl FnMut(usize, usize),
) -> Result<(), CodecError> {
    while passes > 0 {
        let open = block
            .segments
            .last()
            .is_some_and(|segment| segment.passes < segment.most_passes);
        if !open {
            block.segments.push(Segment {
                most_passes: most_passes(style, block.passes),
                ..Segment::default()
            });
        }
        let index = block.segments.len() - 1;
        let segment = &mut block.segments[index];
        let count = passes.min(segment.most_passes - segment.passes);
        let length = bits.bits((block.length_bits + count.ilog2()).min(32))?;
        segment.passes += count;
        block.passes += count;
        passes -= count;
        add(index, length as usize);
    }
    // in a high-throughput block a clean-up pass, and one segment for the two others (T.814 section 7)
    if style & HIGH_THROUGHPUT != 0 && block.passes > 3 {
        return Err(CodecError::Damaged);
    }
    Ok(())
}
