//! What a data set says about showing its pixels becomes a [`GreyTransform`].

use std::ops::RangeInclusive;

use dicom_core::value::{PrimitiveValue, Value};
use dicom_core::{Length, Tag, VR};
use dicom_dictionary_std::tags;
use dicom_object::InMemDicomObject;

use super::grey::{GreyTransform, LookupTable, Modality, Voi, VoiFunction};
use crate::dicom::{number, text};

/// A grey-scale attribute that is not a usable number, by its name and tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unusable(pub(super) &'static str);

/// Modality LUT, VOI LUT, polarity and padding, for stored values of the `range`.
///
/// # Errors
/// [`Unusable`], which names the one that is not usable.
pub(super) fn transform(
    object: &InMemDicomObject,
    range: RangeInclusive<i32>,
) -> Result<GreyTransform, Unusable> {
    let ends = [*range.start(), *range.end()];
    let modality = if let Some(table) = lookup_table(object, tags::MODALITY_LUT_SEQUENCE, ends[1].into())? {
        Modality::Table(table)
    } else {
        let slope = present_number(object, tags::RESCALE_SLOPE, "Rescale Slope (0028,1053)")?.unwrap_or(1.0);
        let intercept =
            present_number(object, tags::RESCALE_INTERCEPT, "Rescale Intercept (0028,1052)")?.unwrap_or(0.0);
        if slope == 0.0 {
            return Err(Unusable("Rescale Slope (0028,1053)"));
        }
        Modality::Linear { slope, intercept }
    };
    let highest = match &modality {
        Modality::Linear { slope, intercept } => ends
            .map(|end| f64::from(end) * slope + intercept)
            .into_iter()
            .fold(f64::NEG_INFINITY, f64::max),
        Modality::Table(_) => f64::from(u16::MAX),
    };
    let photometric = text(object, tags::PHOTOMETRIC_INTERPRETATION);
    let shape = text(object, tags::PRESENTATION_LUT_SHAPE);
    let stored = |tag| {
        let value = object.get(tag)?.to_int::<i32>().ok()?;
        // whatever its VR says, it has the representation of the pixels (PS3.3 section C.7.5.1.1.2)
        Some(if ends[0] < 0 {
            i32::from(value as i16)
        } else {
            i32::from(value as u16)
        })
    };
    let padding = stored(tags::PIXEL_PADDING_VALUE)
        .map(|low| (low, stored(tags::PIXEL_PADDING_RANGE_LIMIT).unwrap_or(low)));
    Ok(GreyTransform {
        modality,
        voi: voi(object, highest)?,
        inverted: photometric.as_deref() == Some("MONOCHROME1") || shape.as_deref() == Some("INVERSE"),
        padding,
    })
}

fn voi(object: &InMemDicomObject, highest: f64) -> Result<Option<Voi>, Unusable> {
    match lookup_table(object, tags::VOILUT_SEQUENCE, highest)? {
        Some(table) => Ok(Some(Voi::Table(table))),
        None => window(object),
    }
}

/// The window of a data set, if it has one.
///
/// # Errors
/// [`Unusable`].
pub(super) fn window(object: &InMemDicomObject) -> Result<Option<Voi>, Unusable> {
    let center = present_number(object, tags::WINDOW_CENTER, "Window Center (0028,1050)")?;
    let width = present_number(object, tags::WINDOW_WIDTH, "Window Width (0028,1051)")?;
    let (Some(center), Some(width)) = (center, width) else {
        return Ok(None);
    };
    let function = match text(object, tags::VOILUT_FUNCTION).as_deref() {
        Some("SIGMOID") => VoiFunction::Sigmoid,
        Some("LINEAR_EXACT") => VoiFunction::LinearExact,
        _ => VoiFunction::Linear,
    };
    let least = if function == VoiFunction::Linear {
        1.0
    } else {
        f64::MIN_POSITIVE
    };
    if width < least {
        return Err(Unusable("Window Width (0028,1051)"));
    }
    Ok(Some(Voi::Window {
        center,
        width,
        function,
    }))
}

/// A number that may be absent, but not present and unusable.
fn present_number(object: &InMemDicomObject, tag: Tag, name: &'static str) -> Result<Option<f64>, Unusable> {
    let Some(element) = object.get(tag) else {
        return Ok(None);
    };
    if element.header().len == Length(0) || element.to_str().is_ok_and(|value| value.trim().is_empty()) {
        return Ok(None);
    }
    match number(object, tag) {
        Some(value) if value.is_finite() => Ok(Some(value)),
        _ => Err(Unusable(name)),
    }
}

/// The first item of a LUT sequence: LUT Descriptor (0028,3002) and LUT Data (0028,3006), for
/// inputs up to `highest`.
fn lookup_table(
    object: &InMemDicomObject,
    sequence: Tag,
    highest: f64,
) -> Result<Option<LookupTable>, Unusable> {
    let Some(item) = object.get(sequence).and_then(|element| element.items()?.first()) else {
        return Ok(None);
    };
    let damaged = Unusable("LUT Descriptor (0028,3002)");
    let descriptor = item.get(tags::LUT_DESCRIPTOR).ok_or_else(|| damaged.clone())?;
    let has_sign = descriptor.vr() == VR::SS;
    let descriptor = descriptor.to_multi_int::<i32>().map_err(|_| damaged.clone())?;
    let [count, first, bits] = descriptor.as_slice() else {
        return Err(damaged);
    };
    // a count of 0 stands for 65536 (PS3.3 section C.11.1.1)
    let count = match *count & 0xFFFF {
        0 => 65_536,
        count => count as usize,
    };
    // a file without VRs does not say whether the first input has a sign (PS3.3 section C.11.1.1.1); one above all inputs is
    // meant to be below zero
    let first = match *first as u16 {
        first if has_sign || f64::from(first) > highest => i32::from(first as i16),
        first => i32::from(first),
    };
    let data = item.get(tags::LUT_DATA).ok_or_else(|| damaged.clone())?;
    let mut entries: Vec<u16> = match data.value() {
        Value::Primitive(PrimitiveValue::U8(bytes)) if bytes.len() == count => {
            bytes.iter().map(|byte| u16::from(*byte)).collect()
        }
        Value::Primitive(PrimitiveValue::U8(bytes)) => bytes
            .chunks_exact(2)
            .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
            .collect(),
        _ => data
            .to_multi_int::<i32>()
            .map_err(|_| damaged.clone())?
            .iter()
            .map(|entry| *entry as u16)
            .collect(),
    };
    entries.truncate(count);
    if entries.is_empty() || !(1..=16).contains(bits) {
        return Err(damaged);
    }
    Ok(Some(LookupTable {
        first,
        bits: *bits as u32,
        entries,
    }))
}
