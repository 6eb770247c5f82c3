//! What the headers of a JPEG 2000 codestream say, marker by marker (ITU-T T.800 annex A; T.814 annex A for the high-throughput
//! block coder).

use super::CodecError;

/// Where the image and its tiles lie on the reference grid, and what its samples are (SIZ, section A.5.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    /// The image: left, top, right, bottom.
    pub(super) image: [u32; 4],
    /// A tile's width and height.
    pub(super) tile: [u32; 2],
    /// Left and top of the first tile.
    pub(super) first_tile: [u32; 2],
    /// 1, or 3 for colour, all of the same size, precision and sign.
    pub(super) components: usize,
    pub(super) precision: u32,
    pub(super) signed: bool,
}

/// The most components that are decoded.
const MOST_COMPONENTS: usize = 3;

impl Size {
    pub(super) fn read(segment: &[u8]) -> Result<Self, CodecError> {
        let four = |at: usize| -> Result<u32, CodecError> {
            let bytes = segment
                .get(at..)
                .and_then(<[u8]>::first_chunk)
                .ok_or(CodecError::Damaged)?;
            Ok(u32::from_be_bytes(*bytes))
        };
        let components = match segment.get(34..36) {
            Some([0, 1]) => 1,
            Some([0, 3]) => MOST_COMPONENTS,
            _ => return Err(CodecError::Colour),
        };
        let of_components = segment.get(36..36 + 3 * components).ok_or(CodecError::Damaged)?;
        let depth = match of_components.as_chunks::<3>().0 {
            [[depth, 1, 1]] => *depth,
            [first @ [depth, 1, 1], second, third] if first == second && first == third => *depth,
            // of another size or depth than the first
            [_, _, _] => return Err(CodecError::Unsupported),
            _ => return Err(CodecError::Damaged),
        };
        let size = Self {
            image: [four(10)?, four(14)?, four(2)?, four(6)?],
            tile: [four(18)?, four(22)?],
            first_tile: [four(26)?, four(30)?],
            components,
            precision: u32::from(depth & 0x7F) + 1,
            signed: depth & 0x80 != 0,
        };
        for axis in 0..2 {
            let (start, end) = (size.image[axis], size.image[axis + 2]);
            let first_end = u64::from(size.first_tile[axis]) + u64::from(size.tile[axis]);
            if start >= end || size.first_tile[axis] > start || first_end <= u64::from(start) || end > 1 << 30
            {
                return Err(CodecError::Damaged);
            }
        }
        Ok(size)
    }

    /// Tiles across and down.
    pub(super) fn tiles(&self) -> [u32; 2] {
        [0, 1].map(|axis| (self.image[axis + 2] - self.first_tile[axis]).div_ceil(self.tile[axis]))
    }

    /// Left, top, right and bottom of a tile.
    pub(super) fn tile(&self, index: u32) -> [u32; 4] {
        let across = self.tiles()[0];
        let place = [index % across, index / across];
        let start = |axis: usize| self.first_tile[axis] + place[axis] * self.tile[axis];
        [
            start(0).max(self.image[0]),
            start(1).max(self.image[1]),
            start(0).saturating_add(self.tile[0]).min(self.image[2]),
            start(1).saturating_add(self.tile[1]).min(self.image[3]),
        ]
    }
}

/// The order of packets (T.800 table A.16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progression {
    /// Layer, resolution, component, position.
    Lrcp,
    /// Resolution, layer, component, position.
    Rlcp,
    /// Resolution, position, component, layer.
    Rpcl,
    /// Position, component, resolution, layer.
    Pcrl,
    /// Component, position, resolution, layer.
    Cprl,
}

impl Progression {
    fn read(code: u8) -> Result<Self, CodecError> {
        Ok(match code {
            0 => Self::Lrcp,
            1 => Self::Rlcp,
            2 => Self::Rpcl,
            3 => Self::Pcrl,
            4 => Self::Cprl,
            _ => return Err(CodecError::Damaged),
        })
    }
}

/// What COD says of the whole tile (section A.6.1).
#[derive(Clone, Copy, Debug)]
pub(super) struct Order {
    pub(super) progression: Progression,
    pub(super) layers: u32,
    /// The components were transformed (section G.2 or G.3).
    pub(super) mixed: bool,
}

/// What COD or COC says of a component (sections A.6.1 and A.6.2).
#[derive(Clone, Debug)]
pub(super) struct Coding {
    /// Decomposition levels, at most 32.
    pub(super) levels: u32,
    /// Binary logarithms of a code-block's width and height.
    pub(super) block: [u32; 2],
    pub(super) style: u8,
    /// The 5-3 transformation, otherwise the 9-7.
    pub(super) reversible: bool,
    /// Binary logarithms of precinct width and height, for each resolution; empty where they are the largest.
    pub(super) precincts: Vec<[u32; 2]>,
}

impl Coding {
    fn read(parameters: &[u8], own_precincts: bool) -> Result<Self, CodecError> {
        let [levels, width, height, style, transformation, ref sizes @ ..] = *parameters else {
            return Err(CodecError::Damaged);
        };
        let levels = u32::from(levels);
        let block = [u32::from(width) + 2, u32::from(height) + 2];
        if levels > 32
            || block.iter().any(|size| *size > 10)
            || block[0] + block[1] > 12
            || transformation > 1
        {
            return Err(CodecError::Damaged);
        }
        let precincts: Vec<[u32; 2]> = if own_precincts {
            let sizes = sizes.get(..=levels as usize).ok_or(CodecError::Damaged)?;
            sizes
                .iter()
                .map(|size| [u32::from(size & 15), u32::from(size >> 4)])
                .collect()
        } else {
            Vec::new()
        };
        // a precinct is halved in the sub-bands of all but the lowest resolution
        if precincts.iter().skip(1).flatten().any(|size| *size == 0) {
            return Err(CodecError::Damaged);
        }
        Ok(Self {
            levels,
            block,
            style,
            reversible: transformation == 1,
            precincts,
        })
    }

    /// Binary logarithms of a precinct's width and height at a resolution.
    pub(super) fn precinct(&self, resolution: u32) -> [u32; 2] {
        self.precincts
            .get(resolution as usize)
            .copied()
            .unwrap_or([15, 15])
    }
}

/// Quantisation (QCD, QCC; section A.6.4).
#[derive(Clone, Debug)]
pub(super) struct Quantisation {
    pub(super) guard_bits: u32,
    /// Only the first is given; the others follow from it.
    derived: bool,
    /// Exponent and mantissa of each sub-band, from the lowest.
    steps: Vec<(u32, u32)>,
}

impl Quantisation {
    fn read(segment: &[u8]) -> Result<Self, CodecError> {
        let (style, steps) = segment.split_first().ok_or(CodecError::Damaged)?;
        let steps: Vec<(u32, u32)> = match style & 31 {
            0 => steps.iter().map(|step| (u32::from(step >> 3), 0)).collect(),
            1 | 2 => steps
                .chunks_exact(2)
                .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
                .map(|step| (step >> 11, step & 0x7FF))
                .collect(),
            _ => return Err(CodecError::Damaged),
        };
        Ok(Self {
            guard_bits: u32::from(style >> 5),
            derived: style & 31 == 1,
            steps,
        })
    }

    /// Exponent and mantissa of sub-band `band` (0 HL, 1 LH, 2 HH; 0 for the only one of resolution 0).
    pub(super) fn step(&self, resolution: u32, band: usize) -> Result<(u32, u32), CodecError> {
        if self.derived {
            let (exponent, mantissa) = *self.steps.first().ok_or(CodecError::Damaged)?;
            // equation E-5
            return Ok((exponent.saturating_sub(resolution.saturating_sub(1)), mantissa));
        }
        let index = match resolution {
            0 => 0,
            _ => 3 * (resolution as usize - 1) + 1 + band,
        };
        self.steps.get(index).copied().ok_or(CodecError::Damaged)
    }
}

/// One progression of a POC marker (section A.6.6).
#[derive(Clone, Copy, Debug)]
pub(super) struct Volume {
    pub(super) progression: Progression,
    /// Components, from and to.
    pub(super) components: [usize; 2],
    /// Resolutions, from and to.
    pub(super) resolutions: [u32; 2],
    /// Layers, to.
    pub(super) layers: u32,
}

/// What the markers of a header say, each of them or none.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters {
    pub(super) order: Option<Order>,
    pub(super) coding: Option<Coding>,
    pub(super) quantisation: Option<Quantisation>,
    pub(super) components: [ComponentParameters; MOST_COMPONENTS],
    pub(super) volumes: Vec<Volume>,
}

/// The same for one component.
#[derive(Clone, Debug, Default)]
pub(super) struct ComponentParameters {
    pub(super) coding: Option<Coding>,
    pub(super) quantisation: Option<Quantisation>,
    pub(super) shift: Option<u32>,
}

/// The most progressions of a tile: each goes through all of its packets.
const MOST_VOLUMES: usize = 32;

const COD: u8 = 0x52;
const COC: u8 = 0x53;
const RGN: u8 = 0x5E;
const QCD: u8 = 0x5C;
const QCC: u8 = 0x5D;
const POC: u8 = 0x5F;
const PPM: u8 = 0x60;
const PPT: u8 = 0x61;

impl Parameters {
    /// Whether a marker says how samples are coded.
    pub(super) fn is_coding(marker: u8) -> bool {
        matches!(marker, COD | COC)
    }

    /// Takes in a marker segment; a marker that says nothing of how to decode is passed over.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] for what T.800 does not allow, and for what no encoder of radiographs writes.
    pub(super) fn take(&mut self, marker: u8, segment: &[u8]) -> Result<(), CodecError> {
        match marker {
            COD => {
                let [style, progression, high, low, mixed, ref coding @ ..] = *segment else {
                    return Err(CodecError::Damaged);
                };
                let layers = u32::from(u16::from_be_bytes([high, low]));
                if layers == 0 {
                    return Err(CodecError::Damaged);
                }
                let progression = Progression::read(progression)?;
                self.order = Some(Order {
                    progression,
                    layers,
                    mixed: mixed == 1,
                });
                self.coding = Some(Coding::read(coding, style & 1 != 0)?);
            }
            COC => {
                let (component, rest) = component_of(&mut self.components, segment)?;
                let (style, coding) = rest.split_first().ok_or(CodecError::Damaged)?;
                component.coding = Some(Coding::read(coding, style & 1 != 0)?);
            }
            QCD => self.quantisation = Some(Quantisation::read(segment)?),
            QCC => {
                let (component, rest) = component_of(&mut self.components, segment)?;
                component.quantisation = Some(Quantisation::read(rest)?);
            }
            RGN => {
                let (component, &[0, shift]) = component_of(&mut self.components, segment)? else {
                    return Err(CodecError::Damaged);
                };
                component.shift = Some(u32::from(shift));
            }
            POC => {
                for entry in segment.chunks_exact(7) {
                    let [from, first, high, low, to, last, progression] = *entry else {
                        return Err(CodecError::Damaged);
                    };
                    if self.volumes.len() == MOST_VOLUMES {
                        return Err(CodecError::Damaged);
                    }
                    self.volumes.push(Volume {
                        progression: Progression::read(progression)?,
                        // 0 stands for 256
                        components: [usize::from(first), usize::from(last.wrapping_sub(1)) + 1],
                        resolutions: [u32::from(from), u32::from(to)],
                        layers: u32::from(u16::from_be_bytes([high, low])),
                    });
                }
            }
            // packed packet headers: no encoder of radiographs writes them
            PPM | PPT => return Err(CodecError::Damaged),
            _ => {}
        }
        Ok(())
    }
}

/// The component that a segment is about, which begins with its number, and the rest of the segment.
fn component_of<'a, 'b>(
    components: &'a mut [ComponentParameters],
    segment: &'b [u8],
) -> Result<(&'a mut ComponentParameters, &'b [u8]), CodecError> {
    let (number, rest) = segment.split_first().ok_or(CodecError::Damaged)?;
    let component = components.get_mut(usize::from(*number));
    Ok((component.ok_or(CodecError::Damaged)?, rest))
}
