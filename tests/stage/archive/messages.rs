//! The bodies of DICOMweb that the archive reads and writes.

pub(super) fn instance(uid: &str) -> String {
    format!(r#"{{"00080018":{{"vr":"UI","Value":["{uid}"]}}}}"#)
}

pub(super) fn stored(uids: &[String]) -> String {
    let items: Vec<_> = uids
        .iter()
        .map(|uid| format!(r#"{{"00081155":{{"vr":"UI","Value":["{uid}"]}}}}"#))
        .collect();
    format!(r#"{{"00081199":{{"vr":"SQ","Value":[{}]}}}}"#, items.join(","))
}

pub(super) fn failed(uids: &[String], reason: u16) -> String {
    let item = |uid| {
        format!(
            r#"{{"00081155":{{"vr":"UI","Value":["{uid}"]}},"00081197":{{"vr":"US","Value":[{reason}]}}}}"#
        )
    };
    let items: Vec<_> = uids.iter().map(item).collect();
    format!(r#"{{"00081198":{{"vr":"SQ","Value":[{}]}}}}"#, items.join(","))
}

pub(super) fn boundary(content_type: &str) -> Option<String> {
    let (_, rest) = content_type.split_once("boundary=")?;
    let value = rest.split(';').next()?.trim().trim_matches('"');
    Some(value.to_owned())
}

/// The contents between the delimiters, without their headers.
pub(super) fn parts<'a>(body: &'a [u8], boundary: &str) -> Vec<&'a [u8]> {
    let delimiter = format!("--{boundary}");
    let delimiters: Vec<usize> = body
        .windows(delimiter.len())
        .enumerate()
        .filter(|(_, window)| *window == delimiter.as_bytes())
        .map(|(at, _)| at)
        .collect();
    delimiters
        .windows(2)
        .filter_map(|pair| {
            let part = &body[pair[0] + delimiter.len()..pair[1]];
            let content = part.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
            part.get(content..part.len().checked_sub(2)?)
        })
        .collect()
}

/// (0008,0018), (0020,000D) and (0020,000E) in Explicit VR Little Endian.
const SOP_INSTANCE_UID: [u8; 6] = [0x08, 0x00, 0x18, 0x00, b'U', b'I'];
pub(super) const STUDY_INSTANCE_UID: [u8; 6] = [0x20, 0x00, 0x0D, 0x00, b'U', b'I'];
pub(super) const SERIES_INSTANCE_UID: [u8; 6] = [0x20, 0x00, 0x0E, 0x00, b'U', b'I'];

pub(super) fn sop_instance_uid(file: &[u8]) -> Option<String> {
    uid_of(file, SOP_INSTANCE_UID)
}

/// The UID in this element of a file in Explicit VR Little Endian.
pub(super) fn uid_of(file: &[u8], element: [u8; 6]) -> Option<String> {
    let at = file.windows(element.len()).position(|window| window == element)? + element.len();
    let length = usize::from(u16::from_le_bytes([*file.get(at)?, *file.get(at + 1)?]));
    let value = file.get(at + 2..at + 2 + length)?;
    let text = std::str::from_utf8(value).ok()?;
    Some(text.trim_end_matches(['\0', ' ']).to_owned())
}
