//! Values by their representation (PS3.5 section 6.2): which are valid, and which stand for nothing.

use dicom_core::dictionary::VirtualVr;
use dicom_core::{PrimitiveValue, VR};

use super::dates;

/// What a text says when something has to be said.
const NOTHING: &str = "DEIDENTIFIED";

/// A value without a meaning (action D); `None` for what has none, and is removed instead.
pub(super) fn dummy(vr: VR) -> Option<PrimitiveValue> {
    Some(match vr {
        VR::AE | VR::CS | VR::LO | VR::LT | VR::PN | VR::SH | VR::ST | VR::UC | VR::UT => NOTHING.into(),
        VR::AS => "000Y".into(),
        VR::DA => "19000101".into(),
        VR::DT => "19000101000000".into(),
        VR::TM => "000000".into(),
        VR::DS | VR::IS => "0".into(),
        VR::UR => "urn:deidentified".into(),
        VR::US => 0_u16.into(),
        VR::SS => 0_i16.into(),
        VR::UL => 0_u32.into(),
        VR::SL => 0_i32.into(),
        VR::FL => 0_f32.into(),
        VR::FD => 0_f64.into(),
        VR::OB => PrimitiveValue::U8([0, 0].as_slice().into()),
        _ => return None,
    })
}

/// Whether an element may have this VR, by the dictionary.
pub(super) fn fits(dictionary: VirtualVr, vr: VR) -> bool {
    match dictionary {
        VirtualVr::Exact(exact) => exact == vr,
        VirtualVr::Xs => matches!(vr, VR::US | VR::SS),
        VirtualVr::Ox | VirtualVr::Px => matches!(vr, VR::OB | VR::OW),
        VirtualVr::Lt => matches!(vr, VR::US | VR::SS | VR::OW),
        // a representation that this code does not know
        _ => false,
    }
}

/// Whether a text is what its VR says it is; of free text nothing is asked.
pub(super) fn is_valid(vr: VR, text: &str) -> bool {
    match vr {
        VR::AS => {
            text.len() == 4
                && text.bytes().take(3).all(|byte| byte.is_ascii_digit())
                && text.ends_with(['D', 'W', 'M', 'Y'])
        }
        VR::CS => {
            text.len() <= 16
                && text.bytes().all(|byte| {
                    byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b' ' | b'_')
                })
        }
        VR::DA => dates::is_date(text),
        VR::DT => dates::is_datetime(text),
        VR::TM => dates::is_time(text),
        // the parser of floats also knows words, such as `inf`
        VR::DS => {
            text.len() <= 16
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'))
                && text.parse::<f64>().is_ok()
        }
        VR::IS => text.len() <= 12 && text.strip_prefix('+').unwrap_or(text).parse::<i32>().is_ok(),
        _ => true,
    }
}

/// Whether the values are numbers in binary, which cannot be read as text.
pub(super) fn is_binary_number(vr: VR) -> bool {
    matches!(
        vr,
        VR::AT | VR::FD | VR::FL | VR::SL | VR::SS | VR::SV | VR::UL | VR::US | VR::UV
    )
}

/// Whether the values are characters.
pub(super) fn is_text(vr: VR) -> bool {
    matches!(
        vr,
        VR::AE
            | VR::AS
            | VR::CS
            | VR::DA
            | VR::DS
            | VR::DT
            | VR::IS
            | VR::LO
            | VR::LT
            | VR::PN
            | VR::SH
            | VR::ST
            | VR::TM
            | VR::UC
            | VR::UI
            | VR::UR
            | VR::UT
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dummies_are_valid() {
        for vr in [VR::AS, VR::CS, VR::DA, VR::DT, VR::TM, VR::DS, VR::IS] {
            let dummy = dummy(vr).unwrap();
            assert!(is_valid(vr, &dummy.to_str()), "{vr:?}");
        }
        assert!(dummy(VR::SQ).is_none() && dummy(VR::UN).is_none());
    }

    #[test]
    fn a_name_is_no_age_code_date_or_number() {
        for vr in [VR::AS, VR::CS, VR::DA, VR::DT, VR::TM, VR::DS, VR::IS] {
            for text in ["Smith^Jo", "Müller", "1^S", "é", "123é", ""] {
                assert!(
                    !is_valid(vr, text) || (vr == VR::CS && text.is_empty()),
                    "{vr:?} {text}"
                );
            }
        }
        for text in ["inf", "NaN", "infinity", "1e", "."] {
            assert!(!is_valid(VR::DS, text), "{text}");
        }
        assert!(is_valid(VR::DS, "-1.5E+03") && is_valid(VR::IS, "+12") && is_valid(VR::AS, "072Y"));
    }
}
