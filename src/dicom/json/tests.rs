//! The model on data sets whose JSON PS3.18 annex F fixes.

use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, PrimitiveValue, dicom_value};
use serde_json::json;

use super::*;

fn element(tag: Tag, vr: VR, value: impl Into<PrimitiveValue>) -> InMemElement {
    DataElement::new(tag, vr, value.into())
}

fn json_of(elements: impl IntoIterator<Item = InMemElement>) -> Value {
    let object = InMemDicomObject::from_element_iter(elements);
    Value::Object(of_data_set(&object, &BulkPath::default()))
}

#[test]
fn each_value_representation_has_its_form() {
    let said = json_of([
        element(tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100"),
        element(
            tags::IMAGE_TYPE,
            VR::CS,
            dicom_value!(Strs, ["ORIGINAL ", "", "PRIMARY"]),
        ),
        element(tags::STUDY_DATE, VR::DA, "20130409"),
        element(tags::ACCESSION_NUMBER, VR::SH, ""),
        element(tags::PATIENT_NAME, VR::PN, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        element(tags::ADDITIONAL_PATIENT_HISTORY, VR::LT, "  one\\two "),
        element(tags::INSTANCE_NUMBER, VR::IS, " 7 "),
        element(tags::PIXEL_SPACING, VR::DS, dicom_value!(Strs, ["0.10", "1e-1"])),
        element(tags::SERIES_NUMBER, VR::IS, "seven"),
        element(tags::ROWS, VR::US, dicom_value!(U16, [2500])),
        element(
            tags::EXAMINED_BODY_THICKNESS,
            VR::FL,
            dicom_value!(F32, [0.1, f32::NAN]),
        ),
        element(
            tags::FRAME_INCREMENT_POINTER,
            VR::AT,
            dicom_value!(Tags, [Tag(0x0018, 0x1063)]),
        ),
        element(Tag(0x0009, 0x1001), VR::UN, dicom_value!(U8, [0xCF, 0x4C])),
        element(tags::STATION_NAME, VR::SH, "a\0b\0"),
        element(Tag(0x0008, 0x0000), VR::UL, dicom_value!(U32, [7])),
    ]);
    assert_eq!(
        said,
        json!({
            "00080005": { "vr": "CS", "Value": ["ISO_IR 192"] },
            "00080008": { "vr": "CS", "Value": ["ORIGINAL", null, "PRIMARY"] },
            "00080020": { "vr": "DA", "Value": ["20130409"] },
            "00080050": { "vr": "SH" },
            "00081010": { "vr": "SH", "Value": ["ab"] },
            "00091001": { "vr": "UN", "InlineBinary": "z0w=" },
            "00100010": { "vr": "PN", "Value": [
                { "Alphabetic": "Yamada^Tarou", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう" } ] },
            "001021B0": { "vr": "LT", "Value": ["  one\\two"] },
            "00109431": { "vr": "FL", "Value": [0.1, "NaN"] },
            "00200011": { "vr": "IS", "Value": ["seven"] },
            "00200013": { "vr": "IS", "Value": [7] },
            "00280009": { "vr": "AT", "Value": ["00181063"] },
            "00280010": { "vr": "US", "Value": [2500] },
            "00280030": { "vr": "DS", "Value": [0.1, 0.1] },
        })
    );
}

#[test]
fn bulk_data_is_named_by_its_place_and_found_there() {
    let table = vec![7_u16; MOST_INLINE];
    let item = |table: Vec<u16>| {
        InMemDicomObject::from_element_iter([element(
            tags::LUT_DATA,
            VR::OW,
            PrimitiveValue::U16(table.into()),
        )])
    };
    let sequence = DataSetSequence::from(vec![item(vec![1]), item(table)]);
    let object = InMemDicomObject::from_element_iter([
        DataElement::new(tags::VOILUT_SEQUENCE, VR::SQ, sequence),
        element(tags::PATIENT_NAME, VR::PN, "A^B"),
    ]);
    let mut said = of_data_set(&object, &BulkPath::default());
    let items = said["00283010"]["Value"].clone();
    assert_eq!(
        items[0]["00283006"],
        json!({ "vr": "OW", "InlineBinary": "AQA=" })
    );
    assert_eq!(
        items[1]["00283006"],
        json!({ "vr": "OW", "BulkDataURI": "00283010/2/00283006" })
    );
    let path: BulkPath = "00283010/2/00283006".parse().unwrap();
    assert_eq!(path.to_string(), "00283010/2/00283006");
    assert_eq!(path.value(&object), Some([7, 0].repeat(MOST_INLINE)));
    let missing: BulkPath = "00283010/3/00283006".parse().unwrap();
    assert_eq!(missing.value(&object), None);

    make_absolute(&mut said, "http://a/bulkdata");
    assert_eq!(
        said["00283010"]["Value"][1]["00283006"]["BulkDataURI"],
        "http://a/bulkdata/00283010/2/00283006"
    );
}

#[test]
fn what_is_no_path_is_none() {
    for wrong in [
        "",
        "7FE0001",
        "7FE00010/",
        "00283010/0/00283006",
        "00283010/1",
        "+FE00010",
        "é",
    ] {
        assert_eq!(wrong.parse::<BulkPath>(), Err(NoPath), "{wrong}");
    }
    let deep = format!("{}7FE00010", "00283010/1/".repeat(65));
    assert_eq!(deep.parse::<BulkPath>(), Err(NoPath));
}

#[test]
fn the_first_value_is_read_as_text_and_as_a_number() {
    let Value::Object(said) = json_of([
        element(tags::PATIENT_NAME, VR::PN, "A^B==C"),
        element(tags::INSTANCE_NUMBER, VR::IS, "7"),
        element(tags::MODALITY, VR::CS, ""),
    ]) else {
        unreachable!()
    };
    assert_eq!(first_text(&said, tags::PATIENT_NAME).as_deref(), Some("A^B==C"));
    assert_eq!(first_text(&said, tags::INSTANCE_NUMBER).as_deref(), Some("7"));
    assert_eq!(first_number(&said, tags::INSTANCE_NUMBER), Some(7));
    assert_eq!(first_text(&said, tags::MODALITY), None);
    assert_eq!(first_number(&said, tags::PATIENT_NAME), None);
}
