//! Every grey-scale transformation that a file can declare gives what pydicom makes of it, to the last bit.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use osteon::dicom::Instance;
use osteon::image::StoredImage;
use osteon::image::decode::decode;
use sha2::{Digest, Sha256};

/// Digests of modality values and of displayed values.
fn digests(image: &StoredImage) -> [String; 2] {
    let codes = image.codes.words(image.rows * image.columns);
    let modality = image.modality_values();
    let voi = image.transform.voi.as_ref().expect("a VOI LUT or window");
    let display = image.display_table(voi);
    let of = |bytes: Vec<u8>| {
        Sha256::digest(bytes)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    };
    [
        of(codes
            .iter()
            .flat_map(|code| modality[usize::from(*code)].to_le_bytes())
            .collect()),
        of(codes
            .iter()
            .flat_map(|code| display[usize::from(*code)].to_le_bytes())
            .collect()),
    ]
}

#[test]
fn every_grey_scale_transformation_gives_what_pydicom_gives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/grey");
    let text = std::fs::read_to_string(folder.join("references.json")).unwrap();
    let all: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut matrix: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in all["files"].as_array().unwrap() {
        let name = entry["file"].as_str().unwrap();
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let instance = Instance::parse(Bytes::from(bytes)).unwrap();
        let [modality, display] = digests(&decode(&instance).unwrap());
        if entry["modality_as_little_endian_f64"] != modality.as_str() {
            wrong.push(format!("{name}: other modality values"));
        }
        if entry["display_as_little_endian_u16"] != display.as_str() {
            wrong.push(format!("{name}: other displayed values"));
        }
        let (case, bits) = name.trim_end_matches(".dcm").rsplit_once('-').unwrap();
        matrix.entry(case.to_owned()).or_default().push(bits.to_owned());
    }
    // past the capture of the test harness: the matrix is to be seen
    let mut out = std::io::stderr();
    for (case, bits) in &matrix {
        writeln!(out, "  grey scale as pydicom: {case:<24} {}", bits.join(" ")).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(matrix.len() >= 25, "only {} transformations", matrix.len());
}
