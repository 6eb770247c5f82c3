//! JPEG Lossless, non-hierarchical (processes 14 and 14 SV1 of ITU-T T.81, annex H), for one component of 2 to 16 bits.
//!
//! The most common compression of radiographs, and so one of our own, in safe Rust: the byte stuffing is taken out first,
//! and one look into a table gives, for almost every pixel, the whole difference. Memory is taken for the image that the
//! data set declares, never for what the stream says.

use super::huffman::{Bits, Table};
use super::markers::{EOI, Markers, SOS, frame_header, restart_interval};
use super::segments::Segments;
use super::{Cancel, CodecError};

/// Decodes one frame of `rows` x `columns` into codes of `precision` bits, which the stream's own header must agree with.
///
/// # Errors
/// [`CodecError::Disagrees`] where the stream has another size or more bits, [`CodecError::Damaged`] where it ends early
/// or is not what T.81 allows, [`CodecError::Colour`] for colour.
pub(super) fn decode(
    stream: &[u8],
    rows: usize,
    columns: usize,
    bits: u32,
    cancel: Cancel<'_>,
) -> Result<Vec<u16>, CodecError> {
    let mut reader = Markers::new(stream)?;
    let mut tables: [Option<Table>; 4] = [None, None, None, None];
    let mut frame = None;
    let mut restart = 0;
    loop {
        let (marker, segment) = reader.next()?;
        match marker {
            DHT => define_tables(segment, &mut tables)?,
            SOF3 => frame = Some(Frame::read(segment, rows, columns, bits)?),
            DRI => restart = restart_interval(segment)?,
            SOS => {
                let frame = frame.ok_or(CodecError::Damaged)?;
                let scan = Scan::read(segment, frame, &tables)?;
                return scan.decode(frame, reader.rest(), rows, columns, restart, cancel);
            }
            // another process: the transfer syntax promised this one
            0xC0..=0xC2 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF | EOI => return Err(CodecError::Damaged),
            _ => {}
        }
    }
}

const SOF3: u8 = 0xC3;
const DHT: u8 = 0xC4;
const DRI: u8 = 0xDD;

fn define_tables(mut segment: &[u8], tables: &mut [Option<Table>; 4]) -> Result<(), CodecError> {
    while let Some((class, rest)) = segment.split_first() {
        let counts: &[u8; 16] = rest.first_chunk().ok_or(CodecError::Damaged)?;
        let total: usize = counts.iter().map(|count| usize::from(*count)).sum();
        let values = rest.get(16..16 + total).ok_or(CodecError::Damaged)?;
        // a lossless process uses DC tables only (class 0)
        if class >> 4 == 0 {
            let place = tables
                .get_mut(usize::from(class & 15))
                .ok_or(CodecError::Damaged)?;
            *place = Some(Table::new(counts, values)?);
        }
        segment = &rest[16 + total..];
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Frame {
    precision: u32,
    component: u8,
}

impl Frame {
    fn read(segment: &[u8], rows: usize, columns: usize, bits: u32) -> Result<Self, CodecError> {
        let (precision, [component, ..]) = frame_header(segment, rows, columns, bits)?;
        if !(2..=16).contains(&precision) {
            return Err(CodecError::Damaged);
        }
        Ok(Self { precision, component })
    }
}

struct Scan<'a> {
    table: &'a Table,
    predictor: u8,
    point_transform: u32,
}

impl<'a> Scan<'a> {
    fn read(segment: &[u8], frame: Frame, tables: &'a [Option<Table>; 4]) -> Result<Self, CodecError> {
        let [1, component, selector, predictor, _, approximation] = *segment else {
            return Err(CodecError::Damaged);
        };
        let point_transform = u32::from(approximation & 15);
        if component != frame.component || !(1..=7).contains(&predictor) || point_transform >= frame.precision
        {
            return Err(CodecError::Damaged);
        }
        let table = tables
            .get(usize::from(selector >> 4))
            .and_then(Option::as_ref)
            .ok_or(CodecError::Damaged)?;
        Ok(Self {
            table,
            predictor,
            point_transform,
        })
    }

    fn decode(
        &self,
        frame: Frame,
        entropy_coded: &[u8],
        rows: usize,
        columns: usize,
        restart: usize,
        cancel: Cancel<'_>,
    ) -> Result<Vec<u16>, CodecError> {
        // a restart interval of whole lines is the only one that a lossless process may have (T.81 section H.1.1)
        if !restart.is_multiple_of(columns) {
            return Err(CodecError::Damaged);
        }
        let lines_an_interval = if restart == 0 { rows } else { restart / columns };
        let mut pixels = vec![0_u16; rows * columns];
        let mut segments = Segments::new(entropy_coded);
        let mut plain = Vec::with_capacity(entropy_coded.len());
        for interval in pixels.chunks_mut(lines_an_interval * columns) {
            segments.next(&mut plain)?;
            let mut bits = Bits::new(&plain);
            let start = 1_u16 << (frame.precision - self.point_transform - 1);
            let mut above: &mut [u16] = &mut [];
            for line in interval.chunks_mut(columns) {
                cancel.check()?;
                self.line(&mut bits, start, above, line);
                above = line;
            }
            if bits.overran() {
                return Err(CodecError::Damaged);
            }
        }
        if self.point_transform > 0 {
            for pixel in &mut pixels {
                *pixel <<= self.point_transform;
            }
        }
        Ok(pixels)
    }

    /// One line (T.81 section H.1.2.1): the first of an interval is predicted from the left only, the first pixel of
    /// any other from above.
    fn line(&self, bits: &mut Bits<'_>, start: u16, above: &[u16], line: &mut [u16]) {
        let difference = |bits: &mut Bits<'_>| self.table.difference(bits);
        let mut left = above
            .first()
            .copied()
            .unwrap_or(start)
            .wrapping_add(difference(bits));
        line[0] = left;
        let rest = &mut line[1..];
        if above.is_empty() || self.predictor == 1 {
            for pixel in rest {
                left = left.wrapping_add(difference(bits));
                *pixel = left;
            }
            return;
        }
        for (pixel, pair) in rest.iter_mut().zip(above.windows(2)) {
            let (a, c, b) = (i32::from(left), i32::from(pair[0]), i32::from(pair[1]));
            let predicted = match self.predictor {
                2 => b,
                3 => c,
                4 => a + b - c,
                5 => a + ((b - c) >> 1),
                6 => b + ((a - c) >> 1),
                _ => (a + b) >> 1,
            };
            left = (predicted as u16).wrapping_add(difference(bits));
            *pixel = left;
        }
    }
}
