//! A JPEG 2000 codestream, taken apart into tiles with their parameters and packets (ITU-T T.800 annex A).

use std::borrow::Cow;

use super::CodecError;
use super::header::{Coding, Parameters, Quantisation, Size, Volume};

const SIZ: u8 = 0x51;
const SOT: u8 = 0x90;
const SOD: u8 = 0x93;
const EOC: u8 = 0xD9;

/// A tile with all that is needed to decode it.
pub(super) struct Tile<'a> {
    /// Left, top, right and bottom on the reference grid.
    pub(super) area: [u32; 4],
    pub(super) components: Vec<Component>,
    /// The components were transformed (section G.2 or G.3).
    pub(super) mixed: bool,
    pub(super) volumes: Vec<Volume>,
    /// Its packets, one behind the other.
    pub(super) packets: Cow<'a, [u8]>,
}

/// A component of a tile.
pub(super) struct Component {
    pub(super) coding: Coding,
    pub(super) quantisation: Quantisation,
    /// By how many bit-planes a region of interest lies above the rest (section H.1).
    pub(super) shift: u32,
}

#[derive(Clone, Default)]
struct Parts<'a> {
    parameters: Parameters,
    packets: Option<Cow<'a, [u8]>>,
}

struct Reader<'a> {
    stream: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// The next marker and its segment, which is empty for markers that stand alone.
    fn marker(&mut self) -> Result<(u8, &'a [u8]), CodecError> {
        let Some(&[0xFF, marker]) = self.stream.get(self.at..).and_then(<[u8]>::first_chunk) else {
            return Err(CodecError::Damaged);
        };
        self.at += 2;
        if matches!(marker, 0x30..=0x3F | 0x4F | SOD | EOC) {
            return Ok((marker, &[]));
        }
        let length = self
            .stream
            .get(self.at..)
            .and_then(<[u8]>::first_chunk)
            .ok_or(CodecError::Damaged)?;
        let end = self.at + usize::from(u16::from_be_bytes(*length)).max(2);
        let segment = self.stream.get(self.at + 2..end).ok_or(CodecError::Damaged)?;
        self.at = end;
        Ok((marker, segment))
    }
}

/// Reads all headers.
///
/// # Errors
/// [`CodecError::Colour`] for other numbers of components than 1 and 3, [`CodecError::Damaged`] for what T.800 does not allow, for
/// missing tiles and for a stream that ends early.
pub(super) fn read(stream: &[u8]) -> Result<(Size, Vec<Tile<'_>>), CodecError> {
    let (mut reader, size) = opened(stream)?;
    let [across, down] = size.tiles();
    let count = across
        .checked_mul(down)
        .filter(|count| *count <= 65_535)
        .ok_or(CodecError::Damaged)?;
    let mut main = Parameters::default();
    let mut tiles: Vec<Parts<'_>> = Vec::new();
    tiles.resize_with(count as usize, Parts::default);
    loop {
        match reader.marker()? {
            (SOT, segment) => {
                let (number, packets) = tile_part(&mut reader, segment, |number, marker, segment| {
                    let tile = tiles.get_mut(number).ok_or(CodecError::Damaged)?;
                    tile.parameters.take(marker, segment)
                })?;
                let tile = tiles.get_mut(number).ok_or(CodecError::Damaged)?;
                match &mut tile.packets {
                    Some(before) => before.to_mut().extend_from_slice(packets),
                    None => tile.packets = Some(Cow::Borrowed(packets)),
                }
            }
            (EOC, _) => break,
            (SOD, _) => return Err(CodecError::Damaged),
            (marker, segment) => main.take(marker, segment)?,
        }
        // a stream may lack its last marker
        if reader.at >= stream.len() {
            break;
        }
    }
    let tiles = tiles
        .into_iter()
        .enumerate()
        .map(|(index, parts)| tile(&size, index as u32, &main, parts))
        .collect::<Result<_, _>>()?;
    Ok((size, tiles))
}

/// Reads a tile-part behind its SOT, whose segment that is: `take` gets the number of its tile and each marker of its header. Gives that
/// number and its packets.
fn tile_part<'a>(
    reader: &mut Reader<'a>,
    segment: &[u8],
    mut take: impl FnMut(usize, u8, &[u8]) -> Result<(), CodecError>,
) -> Result<(usize, &'a [u8]), CodecError> {
    // 12 bytes back is the marker itself, which Psot counts from (section A.4.2)
    let start = reader.at - 12;
    let [high, low, a, b, c, d, _, _] = *segment else {
        return Err(CodecError::Damaged);
    };
    let number = usize::from(u16::from_be_bytes([high, low]));
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    loop {
        match reader.marker()? {
            (SOD, _) => break,
            (SOT | EOC, _) => return Err(CodecError::Damaged),
            (marker, segment) => take(number, marker, segment)?,
        }
    }
    let end = if length == 0 {
        // as far as there is something, without the last marker
        let behind = reader.stream.len();
        if reader.stream.ends_with(&[0xFF, EOC]) {
            behind - 2
        } else {
            behind
        }
    } else {
        start + length
    };
    let packets = reader.stream.get(reader.at..end).ok_or(CodecError::Damaged)?;
    reader.at = end;
    Ok((number, packets))
}

/// How all tiles of an image of one component are coded, and in how many layers; nothing is kept of the tiles. `None` where one has a
/// coding of its own.
///
/// # Errors
/// Some of those of [`read`].
pub(super) fn common(stream: &[u8]) -> Result<Option<(Size, Coding, u32)>, CodecError> {
    let (mut reader, size) = opened(stream)?;
    let mut main = Parameters::default();
    let mut is_common = size.components == 1;
    loop {
        match reader.marker()? {
            (SOT, segment) => {
                tile_part(&mut reader, segment, |_, marker, _| {
                    is_common &= !Parameters::is_coding(marker);
                    Ok(())
                })?;
            }
            (EOC, _) => break,
            (SOD, _) => return Err(CodecError::Damaged),
            (marker, segment) => main.take(marker, segment)?,
        }
        if reader.at >= stream.len() {
            break;
        }
    }
    let [component, ..] = main.components;
    let coding = component.coding.or(main.coding).filter(|_| is_common);
    let layers = main.order.map(|order| order.layers);
    Ok(coding.zip(layers).map(|(coding, layers)| (size, coding, layers)))
}

/// The stream behind its first two markers, and what they say.
fn opened(stream: &[u8]) -> Result<(Reader<'_>, Size), CodecError> {
    let mut reader = Reader { stream, at: 0 };
    if reader.marker()?.0 != 0x4F {
        return Err(CodecError::Damaged);
    }
    let (SIZ, segment) = reader.marker()? else {
        return Err(CodecError::Damaged);
    };
    let size = Size::read(segment)?;
    Ok((reader, size))
}

/// A tile's own markers go before those of the main header, and a component's before those of all (section A.6).
fn tile<'a>(size: &Size, index: u32, main: &Parameters, parts: Parts<'a>) -> Result<Tile<'a>, CodecError> {
    let own = parts.parameters;
    let order = own.order.or(main.order).ok_or(CodecError::Damaged)?;
    let components = own.components.iter().zip(&main.components).take(size.components);
    let components = components
        .map(|(own_component, main_component)| {
            let coding = own_component.coding.as_ref().or(own.coding.as_ref());
            let coding = coding.or(main_component.coding.as_ref()).or(main.coding.as_ref());
            let quantisation = own_component.quantisation.as_ref().or(own.quantisation.as_ref());
            let quantisation = quantisation.or(main_component.quantisation.as_ref());
            let quantisation = quantisation.or(main.quantisation.as_ref());
            Ok(Component {
                coding: coding.ok_or(CodecError::Damaged)?.clone(),
                quantisation: quantisation.ok_or(CodecError::Damaged)?.clone(),
                shift: own_component.shift.or(main_component.shift).unwrap_or(0),
            })
        })
        .collect::<Result<Vec<_>, CodecError>>()?;
    let levels = components.iter().map(|component| component.coding.levels).max();
    let resolutions = levels.unwrap_or(0) + 1;
    let mut volumes = if own.volumes.is_empty() {
        main.volumes.clone()
    } else {
        own.volumes
    };
    if volumes.is_empty() {
        volumes.push(Volume {
            progression: order.progression,
            components: [0, size.components],
            resolutions: [0, resolutions],
            layers: order.layers,
        });
    }
    for volume in &mut volumes {
        volume.layers = volume.layers.min(order.layers);
        volume.resolutions[1] = volume.resolutions[1].min(resolutions);
        volume.components[1] = volume.components[1].min(size.components);
    }
    Ok(Tile {
        area: size.tile(index),
        components,
        mixed: order.mixed,
        volumes,
        packets: parts.packets.ok_or(CodecError::Damaged)?,
    })
}
