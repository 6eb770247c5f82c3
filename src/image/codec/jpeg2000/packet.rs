//! Packets: which code-blocks have which bytes (ITU-T T.800 sections B.9 to B.12).

use super::CodecError;
use super::block::{HIGH_THROUGHPUT, most_passes};
use super::codestream::Tile;
use super::header::Progression;
use super::layout::{CodeBlock, Resolution, Segment};
use super::tag_tree::HeaderBits;

/// Reads all packets of a tile; `resolutions` are those of each component.
///
/// # Errors
/// [`CodecError::Damaged`] where one is missing or cut short.
pub(super) fn read(tile: &Tile<'_>, resolutions: &mut [Vec<Resolution>]) -> Result<(), CodecError> {
    let count = |resolution: &Resolution| (resolution.precincts[0] * resolution.precincts[1]) as usize;
    let layers = resolutions.iter().map(|component| {
        component
            .iter()
            .map(|resolution| vec![0; count(resolution)])
            .collect()
    });
    let mut reader = Reader {
        tile,
        at: 0,
        layers: layers.collect(),
    };
    for volume in &tile.volumes {
        let [from, to] = volume.resolutions.map(|edge| edge as usize);
        let range = from.min(to)..to;
        let [first, last] = volume.components;
        let components = first.min(last)..last;
        match volume.progression {
            Progression::Lrcp => {
                for layer in 0..volume.layers {
                    for index in range.clone() {
                        reader.precincts(resolutions, components.clone(), index, layer)?;
                    }
                }
            }
            Progression::Rlcp => {
                for index in range {
                    for layer in 0..volume.layers {
                        reader.precincts(resolutions, components.clone(), index, layer)?;
                    }
                }
            }
            by_place => {
                let mut places = Vec::new();
                for component in components {
                    let range = from.min(resolutions[component].len())..to.min(resolutions[component].len());
                    places.extend(self::places(
                        tile,
                        &resolutions[component][range],
                        component,
                        from,
                    ));
                }
                places.sort_unstable_by_key(|place| place.rank(by_place));
                for place in places {
                    for layer in 0..volume.layers {
                        reader.packet(
                            resolutions,
                            [place.component, place.resolution, place.precinct],
                            layer,
                        )?;
                    }
                }
            }
        }
    }
    Ok(())
}

/// A precinct, and where it begins.
struct Place {
    /// Top and left on the reference grid.
    corner: [u64; 2],
    component: usize,
    resolution: usize,
    precinct: usize,
}

impl Place {
    /// What comes before what in a progression by places (section B.12.1).
    fn rank(&self, progression: Progression) -> [u64; 5] {
        let [top, left] = self.corner;
        let [component, resolution, precinct] =
            [self.component, self.resolution, self.precinct].map(|number| number as u64);
        match progression {
            Progression::Cprl => [component, top, left, resolution, precinct],
            Progression::Pcrl => [top, left, component, resolution, precinct],
            Progression::Rpcl | Progression::Lrcp | Progression::Rlcp => {
                [resolution, top, left, component, precinct]
            }
        }
    }
}

/// The precincts of these resolutions of a component, of which the first is `first` (section B.12.1.4).
fn places(tile: &Tile<'_>, resolutions: &[Resolution], component: usize, first: usize) -> Vec<Place> {
    let levels = tile.components[component].coding.levels;
    let mut places = Vec::new();
    for (offset, resolution) in resolutions.iter().enumerate() {
        let depth = levels - (first + offset) as u32;
        let across = resolution.precincts[0] as usize;
        for precinct in 0..across * resolution.precincts[1] as usize {
            let place = [precinct % across, precinct / across];
            let [left, top] = [0, 1].map(|axis| {
                let start = resolution.area[axis];
                let size = resolution.precinct[axis];
                if place[axis] == 0 && start & ((1 << size) - 1) != 0 {
                    u64::from(tile.area[axis])
                } else {
                    (u64::from(start >> size) + place[axis] as u64) << size << depth
                }
            });
            places.push(Place {
                corner: [top, left],
                component,
                resolution: first + offset,
                precinct,
            });
        }
    }
    places
}

struct Reader<'a> {
    tile: &'a Tile<'a>,
    at: usize,
    /// How many layers of each precinct of each resolution of each component have been read: a packet comes once, whatever
    /// progressions name it.
    layers: Vec<Vec<Vec<u32>>>,
}

impl Reader<'_> {
    /// Those of one resolution and layer, component by component; one with fewer resolutions has none.
    fn precincts(
        &mut self,
        resolutions: &mut [Vec<Resolution>],
        components: std::ops::Range<usize>,
        index: usize,
        layer: u32,
    ) -> Result<(), CodecError> {
        for component in components {
            let count = self.layers[component].get(index).map_or(0, Vec::len);
            for precinct in 0..count {
                self.packet(resolutions, [component, index, precinct], layer)?;
            }
        }
        Ok(())
    }

    fn packet(
        &mut self,
        resolutions: &mut [Vec<Resolution>],
        [component, index, precinct]: [usize; 3],
        layer: u32,
    ) -> Result<(), CodecError> {
        let tile = self.tile;
        let packets: &[u8] = &tile.packets;
        let style = tile.components[component].coding.style;
        let resolution = &mut resolutions[component][index];
        let next = &mut self.layers[component][index][precinct];
        if *next != layer {
            return Ok(());
        }
        *next += 1;
        // start of packet (section A.8.1): neither it nor the end of a header can be anything else here
        if packets[self.at..].starts_with(&[0xFF, 0x91]) {
            self.at += 6;
        }
        let mut bits = HeaderBits::new(packets, self.at);
        let mut lengths = Vec::new();
        let filled = bits.bit()? == 1;
        for (band, bands) in resolution.bands.iter_mut().enumerate() {
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
                segments(block, passes, style, &mut bits, |segment, length| {
                    lengths.push((band, number, segment, length));
                })?;
            }
        }
        self.at = bits.end();
        if packets
            .get(self.at..)
            .is_some_and(|rest| rest.starts_with(&[0xFF, 0x92]))
        {
            self.at += 2;
        }
        for (band, number, segment, length) in lengths {
            let end = self.at + length;
            if end > packets.len() {
                return Err(CodecError::Damaged);
            }
            let block = &mut resolution.bands[band].precincts[precinct].blocks[number];
            block.segments[segment].pieces.push(self.at..end);
            self.at = end;
        }
        if self.at > packets.len() {
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
