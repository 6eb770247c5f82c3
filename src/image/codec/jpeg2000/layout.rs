//! Resolutions, sub-bands, precincts and code-blocks of a tile (ITU-T T.800 annex B).

use super::CodecError;
use super::codestream::Component;
use super::contexts::Orientation;
use super::header::Coding;
use super::tag_tree::TagTree;

/// What a precinct or a code-block takes at most, in bytes, until its tile is decoded.
pub(super) const BYTES_A_PART: usize = 384;

/// The most precincts and code-blocks that an image of so many samples is cut into: blocks of 32 x 32, ten times over, and some thousands
/// for small ones.
pub(super) fn most_parts(samples: usize) -> usize {
    samples / 96 + (16 << 10)
}

/// A resolution level, from the lowest.
pub(super) struct Resolution {
    /// Left, top, right and bottom in its own samples.
    pub(super) area: [u32; 4],
    /// Precincts across and down.
    pub(super) precincts: [u32; 2],
    /// Binary logarithms of a precinct's width and height.
    pub(super) precinct: [u32; 2],
    /// LL alone, or HL, LH and HH.
    pub(super) bands: Vec<Band>,
}

/// A sub-band.
pub(super) struct Band {
    pub(super) area: [u32; 4],
    pub(super) orientation: Orientation,
    /// Magnitude bit-planes, Mb of equation E-2.
    pub(super) planes: u32,
    /// The size of a quantisation step.
    pub(super) step: f32,
    /// The code-blocks of each precinct.
    pub(super) precincts: Vec<Precinct>,
}

/// The code-blocks of a sub-band in one precinct, row by row.
pub(super) struct Precinct {
    pub(super) blocks: Vec<CodeBlock>,
    pub(super) inclusion: TagTree,
    pub(super) zero_planes: TagTree,
}

/// A code-block and what the packets have said of it.
#[derive(Default)]
pub(super) struct CodeBlock {
    /// Left and top within the sub-band's samples.
    pub(super) place: [usize; 2],
    pub(super) size: [usize; 2],
    /// Set by the first packet that includes it.
    pub(super) zero_planes: Option<u32>,
    /// Lblock of section B.10.7.1.
    pub(super) length_bits: u32,
    pub(super) passes: u32,
    pub(super) segments: Vec<Segment>,
}

/// A codeword segment: its passes, and the places of its bytes among the packets.
#[derive(Default)]
pub(super) struct Segment {
    pub(super) passes: u32,
    pub(super) most_passes: u32,
    pub(super) pieces: Vec<std::ops::Range<usize>>,
}

/// Halved so many times and rounded up, as an edge is at lower resolutions (equation B-14).
pub(super) fn halved(value: u32, times: u32) -> u32 {
    u64::from(value).div_ceil(1 << times) as u32
}

/// The resolutions of a component of a tile that lies there, with empty code-blocks.
///
/// # Errors
/// [`CodecError::Damaged`] where a quantisation step is missing or the tiles before it and this one fall into more parts than an
/// image can need; `parts` says how many are left.
pub(super) fn resolutions(
    tile: [u32; 4],
    component: &Component,
    precision: u32,
    parts: &mut usize,
) -> Result<Vec<Resolution>, CodecError> {
    let levels = component.coding.levels;
    (0..=levels)
        .map(|index| {
            let precinct = component.coding.precinct(index);
            let area = tile.map(|edge| halved(edge, levels - index));
            let precincts = grid(area, precinct);
            take(parts, precincts)?;
            let mut resolution = Resolution {
                area,
                precincts,
                precinct,
                bands: Vec::new(),
            };
            for (number, (right, low, orientation)) in kinds(index).iter().enumerate() {
                let area = band(tile, levels, index, [*right, *low]);
                let (exponent, mantissa) = component.quantisation.step(index, number)?;
                // equations E-2 and E-3; the gain of a sub-band is 0, 1 or 2 bits
                let planes = (component.quantisation.guard_bits + exponent).saturating_sub(1);
                let range = (precision + right + low) as i32 - exponent as i32;
                let step = (1.0 + mantissa as f32 / 2048.0) * (range as f32).exp2();
                let mut band = Band {
                    area,
                    orientation: *orientation,
                    planes,
                    step,
                    precincts: Vec::new(),
                };
                band.precincts = split(&band, &resolution, index > 0, component.coding.block, parts)?;
                resolution.bands.push(band);
            }
            Ok(resolution)
        })
        .collect()
}

/// Into how many parts [`resolutions`] cuts a component of a tile; code-blocks end where precincts do.
pub(super) fn parts(tile: [u32; 4], coding: &Coding) -> usize {
    let levels = coding.levels;
    let count = |[across, down]: [u32; 2]| across as usize * down as usize;
    let of_resolution = |index: u32| {
        let precinct = coding.precinct(index);
        let block = [0, 1].map(|axis| coding.block[axis].min(precinct[axis] - u32::from(index > 0)));
        let bands = kinds(index).iter();
        let blocks =
            bands.map(|(right, low, _)| count(grid(band(tile, levels, index, [*right, *low]), block)));
        count(grid(tile.map(|edge| halved(edge, levels - index)), precinct)) + blocks.sum::<usize>()
    };
    (0..=levels).map(of_resolution).sum()
}

/// Where the sub-bands of a resolution are high-pass, across and down.
fn kinds(index: u32) -> &'static [(u32, u32, Orientation)] {
    if index == 0 {
        &[(0, 0, Orientation::Vertical)]
    } else {
        &[
            (1, 0, Orientation::Horizontal),
            (0, 1, Orientation::Vertical),
            (1, 1, Orientation::Diagonal),
        ]
    }
}

/// The area of a sub-band of a resolution, in its own samples; `high` where it is high-pass, across and down.
fn band(tile: [u32; 4], levels: u32, index: u32, high: [u32; 2]) -> [u32; 4] {
    let depth = if index == 0 { levels } else { levels - index + 1 };
    [0, 1, 2, 3].map(|side| {
        // equation B-15
        let offset = if depth == 0 {
            0
        } else {
            u64::from(high[side % 2]) << (depth - 1)
        };
        u64::from(tile[side]).saturating_sub(offset).div_ceil(1 << depth) as u32
    })
}

/// How many cells of that size, as binary logarithms, an area lies in, across and down.
fn grid(area: [u32; 4], cell: [u32; 2]) -> [u32; 2] {
    if area[0] >= area[2] || area[1] >= area[3] {
        return [0, 0];
    }
    [0, 1].map(|axis| halved(area[axis + 2], cell[axis]) - (area[axis] >> cell[axis]))
}

/// Takes a grid of so many parts across and down.
fn take(parts: &mut usize, [across, down]: [u32; 2]) -> Result<(), CodecError> {
    let count = usize::try_from(u64::from(across) * u64::from(down)).unwrap_or(usize::MAX);
    *parts = parts.checked_sub(count).ok_or(CodecError::Damaged)?;
    Ok(())
}

/// The precincts of a sub-band (sections B.6 and B.7).
fn split(
    band: &Band,
    resolution: &Resolution,
    halves: bool,
    block: [u32; 2],
    parts: &mut usize,
) -> Result<Vec<Precinct>, CodecError> {
    let cell = resolution.precinct.map(|size| size - u32::from(halves));
    let block = [0, 1].map(|axis| block[axis].min(cell[axis]));
    let first = [0, 1].map(|axis| resolution.area[axis] >> resolution.precinct[axis]);
    let mut precincts = Vec::new();
    for down in 0..resolution.precincts[1] {
        for across in 0..resolution.precincts[0] {
            let place = [first[0] + across, first[1] + down];
            let low =
                |axis: usize| ((u64::from(place[axis])) << cell[axis]).max(u64::from(band.area[axis])) as u32;
            let high = |axis: usize| {
                ((u64::from(place[axis]) + 1) << cell[axis]).min(u64::from(band.area[axis + 2])) as u32
            };
            let area = [low(0), low(1), high(0), high(1)];
            let count = grid(area, block);
            take(parts, count)?;
            let mut blocks = Vec::with_capacity((count[0] * count[1]) as usize);
            for y in 0..count[1] {
                for x in 0..count[0] {
                    let start = |axis: usize, offset: u32| {
                        (((area[axis] >> block[axis]) + offset) << block[axis]).max(area[axis])
                    };
                    let end = |axis: usize, offset: u32| {
                        (((area[axis] >> block[axis]) + offset + 1) << block[axis]).min(area[axis + 2])
                    };
                    let (left, top) = (start(0, x), start(1, y));
                    blocks.push(CodeBlock {
                        place: [(left - band.area[0]) as usize, (top - band.area[1]) as usize],
                        size: [(end(0, x) - left) as usize, (end(1, y) - top) as usize],
                        length_bits: 3,
                        ..CodeBlock::default()
                    });
                }
            }
            precincts.push(Precinct {
                blocks,
                inclusion: TagTree::new(count),
                zero_planes: TagTree::new(count),
            });
        }
    }
    Ok(precincts)
}
