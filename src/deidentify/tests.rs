//! What must not come through does not, in any place of a file; what must come through does.

mod planted;

use bytes::Bytes;
use dicom_core::value::DataSetSequence;
use dicom_core::{DataElement, Length, PrimitiveValue, Tag, VR};
use dicom_dictionary_std::{tags, uids};
use dicom_object::InMemDicomObject;

use super::*;
use crate::dicom::{PixelData, text};
use crate::image::decode::decode;
use crate::image::mask::Rectangle;
use crate::image::phantom::{Recipe, to_dicom};

/// An image of a phantom, with its elements in the hands of `change`.
fn file(patient: u32, image: u32, change: impl FnOnce(&mut InMemDicomObject)) -> Bytes {
    let phantom = Recipe::new(u64::from(patient), 64, 64).render();
    let mut object = to_dicom(&phantom, 1, patient, image).unwrap();
    change(&mut object);
    let mut file = Vec::new();
    object.write_all(&mut file).unwrap();
    Bytes::from(file)
}

fn put(object: &mut InMemDicomObject, tag: Tag, vr: VR, value: &str) {
    object.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
}

fn deidentifier(options: &[ProfileOption]) -> Deidentifier {
    Deidentifier::new(Key::new([7; 32]), Options::new(options.iter().copied()).unwrap())
}

fn read(new: &Deidentified) -> Instance {
    Instance::parse(Bytes::from(new.file.clone())).unwrap()
}

fn after(options: &[ProfileOption], change: impl FnOnce(&mut InMemDicomObject)) -> Instance {
    read(&deidentifier(options).file(file(1, 0, change)).unwrap())
}

#[test]
fn pixels_are_equal_and_what_they_mean_stays() {
    for patient in 0..4 {
        let source = Instance::parse(file(patient, 0, |_| {})).unwrap();
        let new = deidentifier(&[]).file(file(patient, 0, |_| {})).unwrap();
        let instance = read(&new);
        let (old, seen) = (decode(&source).unwrap(), decode(&instance).unwrap());
        let count = old.rows * old.columns;
        assert_eq!(old.codes.words(count), seen.codes.words(count));
        assert_eq!(old.transform, seen.transform);
        for tag in [
            tags::BODY_PART_EXAMINED,
            tags::VIEW_POSITION,
            tags::MODALITY,
            tags::PIXEL_SPACING,
            tags::SOP_CLASS_UID,
            tags::DETECTOR_TYPE,
        ] {
            assert_eq!(text(&instance.header, tag), text(&source.header, tag), "{tag}");
        }
        let region = instance.header.get(tags::ANATOMIC_REGION_SEQUENCE).unwrap();
        assert_eq!(
            text(&region.items().unwrap()[0], tags::CODE_MEANING).as_deref(),
            Some("Lumbar spine")
        );
        assert_eq!(instance.uid, new.uid);
        assert_eq!(instance.transfer_syntax, uids::EXPLICIT_VR_LITTLE_ENDIAN);
    }
}

#[test]
fn it_says_what_was_done() {
    use ProfileOption::{Descriptors, ModifiedDates};
    let instance = after(&[Descriptors, ModifiedDates], |_| {});
    let header = &instance.header;
    let says = |tag| text(header, tag);
    assert_eq!(says(tags::PATIENT_IDENTITY_REMOVED).as_deref(), Some("YES"));
    assert_eq!(
        says(tags::LONGITUDINAL_TEMPORAL_INFORMATION_MODIFIED).as_deref(),
        Some("MODIFIED")
    );
    assert!(says(tags::DEIDENTIFICATION_METHOD).is_some());
    let codes = header.get(tags::DEIDENTIFICATION_METHOD_CODE_SEQUENCE).unwrap();
    let codes: Vec<_> = codes
        .items()
        .unwrap()
        .iter()
        .filter_map(|item| text(item, tags::CODE_VALUE))
        .collect();
    assert_eq!(codes, ["113100", "113107", "113105"]);
    assert_eq!(says(tags::STUDY_DESCRIPTION).as_deref(), Some("Lumbar spine"));
    // L is no word of the list
    assert_eq!(says(tags::SERIES_DESCRIPTION).as_deref(), Some("spine lateral"));
}

#[test]
fn a_patients_images_stay_together_and_intervals_stay() {
    let deidentifier = deidentifier(&[ProfileOption::ModifiedDates]);
    let at = |patient: u32, date: &str| {
        let file = file(patient, 0, |object| put(object, tags::STUDY_DATE, VR::DA, date));
        read(&deidentifier.file(file).unwrap())
    };
    let (one, two, other) = (at(1, "20240229"), at(1, "20250301"), at(2, "20240229"));
    let says = |instance: &Instance, tag| text(&instance.header, tag).unwrap();
    for tag in [tags::PATIENT_ID, tags::PATIENT_NAME] {
        assert_eq!(says(&one, tag), says(&two, tag));
        assert_ne!(says(&one, tag), says(&other, tag));
    }
    assert_eq!(one.study, two.study);
    assert_ne!(one.study, other.study);
    let day =
        |instance| chrono::NaiveDate::parse_from_str(&says(instance, tags::STUDY_DATE), "%Y%m%d").unwrap();
    assert_eq!((day(&two) - day(&one)).num_days(), 366);
    assert_ne!(day(&one), day(&other));
    assert!(text(&one.header, tags::PATIENT_BIRTH_DATE).is_none());
}

#[test]
fn a_reference_to_another_image_leads_to_its_new_uid() {
    let other = deidentifier(&[]).file(file(1, 1, |_| {})).unwrap();
    let old = other
        .uids
        .iter()
        .find(|(_, new)| **new == other.uid.as_str())
        .unwrap()
        .0
        .clone();
    let instance = after(&[], |object| {
        let mut item = InMemDicomObject::new_empty();
        put(
            &mut item,
            tags::REFERENCED_SOP_CLASS_UID,
            VR::UI,
            uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION,
        );
        put(&mut item, tags::REFERENCED_SOP_INSTANCE_UID, VR::UI, &old);
        let items = DataSetSequence::new(vec![item], Length::UNDEFINED);
        object.put(DataElement::new(tags::SOURCE_IMAGE_SEQUENCE, VR::SQ, items));
    });
    let source = instance.header.get(tags::SOURCE_IMAGE_SEQUENCE).unwrap();
    let item = &source.items().unwrap()[0];
    assert_eq!(
        text(item, tags::REFERENCED_SOP_INSTANCE_UID).as_deref(),
        Some(other.uid.as_str())
    );
    assert_eq!(
        text(item, tags::REFERENCED_SOP_CLASS_UID).as_deref(),
        Some(uids::DIGITAL_X_RAY_IMAGE_STORAGE_FOR_PRESENTATION)
    );
}

#[test]
fn options_keep_what_they_name() {
    use ProfileOption::{DeviceIdentity, FullDates, InstitutionIdentity, PatientCharacteristics, Uids};
    let source = Instance::parse(file(1, 0, |_| {})).unwrap();
    let same = |options: &[ProfileOption], tag| {
        text(&after(options, |_| {}).header, tag) == text(&source.header, tag)
    };
    for (option, tag) in [
        (Uids, tags::STUDY_INSTANCE_UID),
        (DeviceIdentity, tags::DEVICE_SERIAL_NUMBER),
        (DeviceIdentity, tags::MANUFACTURER_MODEL_NAME),
        (InstitutionIdentity, tags::INSTITUTION_NAME),
        (PatientCharacteristics, tags::PATIENT_AGE),
        (PatientCharacteristics, tags::PATIENT_SEX),
        (FullDates, tags::STUDY_DATE),
        (FullDates, tags::STUDY_TIME),
    ] {
        assert!(same(&[option], tag), "{tag} {option:?}");
        assert!(!same(&[], tag), "{tag}");
    }
    assert_eq!(after(&[Uids], |_| {}).uid, source.uid);
}

#[test]
fn a_value_that_is_not_valid_is_not_kept() {
    let instance = after(
        &[ProfileOption::FullDates, ProfileOption::PatientCharacteristics],
        |object| {
            put(object, tags::STUDY_DATE, VR::DA, "Smith^Jo");
            put(object, tags::PATIENT_AGE, VR::AS, "Jo S");
            // under another VR than the dictionary's, it could say anything
            put(object, tags::PATIENT_SIZE, VR::LO, "Smith^Jo");
        },
    );
    assert_eq!(text(&instance.header, tags::STUDY_DATE), None);
    assert_eq!(text(&instance.header, tags::PATIENT_AGE), None);
    assert_eq!(text(&instance.header, tags::PATIENT_SIZE), None);
}

#[test]
fn a_dummy_replaces_a_value_and_not_its_absence() {
    let agent = |value: &'static str| {
        let instance = after(&[], |object| {
            put(object, tags::CONTRAST_BOLUS_AGENT, VR::LO, value);
        });
        text(&instance.header, tags::CONTRAST_BOLUS_AGENT)
    };
    assert_eq!(agent("Smith's").as_deref(), Some("DEIDENTIFIED"));
    assert_eq!(agent(""), None);
}

#[test]
fn private_attributes_stay_only_if_they_are_listed() {
    let change = |object: &mut InMemDicomObject| {
        put(object, Tag(0x0019, 0x0010), VR::LO, "SIEMENS MR HEADER");
        put(object, Tag(0x0019, 0x100C), VR::IS, "50");
        put(object, Tag(0x0019, 0x100D), VR::CS, "Smith^Jo");
        put(object, Tag(0x0029, 0x0011), VR::LO, "ACME");
        put(object, Tag(0x0029, 0x1101), VR::LO, "quality 7");
        put(object, Tag(0x0029, 0x1102), VR::LO, "Smith^Jo");
    };
    let groups = |instance: &Instance| -> Vec<Tag> {
        let tags = instance.header.tags().filter(|tag| tag.0 % 2 == 1);
        tags.collect()
    };
    assert_eq!(groups(&after(&[], change)), []);
    assert_eq!(
        groups(&after(&[ProfileOption::SafePrivate], change)),
        [Tag(0x0019, 0x0010), Tag(0x0019, 0x100C)]
    );
    let own = deidentifier(&[]).with_private(["0029,ACME,01".parse().unwrap()]);
    let instance = read(&own.file(file(1, 0, change)).unwrap());
    assert_eq!(groups(&instance), [Tag(0x0029, 0x0011), Tag(0x0029, 0x1101)]);
}

#[test]
fn burned_in_text_is_refused_or_masked_by_rule() {
    let burned = |object: &mut InMemDicomObject| put(object, tags::BURNED_IN_ANNOTATION, VR::CS, "YES");
    let error = deidentifier(&[]).file(file(1, 0, burned)).unwrap_err();
    assert!(matches!(error, Refusal::BurnedIn(Suspicion::Stated)), "{error}");

    let source = Instance::parse(file(1, 0, burned)).unwrap();
    let rule = |model: &str| MaskRule {
        manufacturer: None,
        model: Some(model.to_owned()),
        rows: 64,
        columns: 64,
        rectangles: vec![Rectangle {
            left: 0,
            top: 0,
            width: 64,
            height: 8,
        }],
    };
    let other = deidentifier(&[]).with_masks(vec![rule("Other")]);
    assert!(other.file(file(1, 0, burned)).is_err());
    let model = text(&source.header, tags::MANUFACTURER_MODEL_NAME).unwrap();
    let new = deidentifier(&[])
        .with_masks(vec![rule(&model)])
        .file(file(1, 0, burned))
        .unwrap();
    assert_eq!(new.report.masked, 1);
    let instance = read(&new);
    assert_eq!(
        text(&instance.header, tags::BURNED_IN_ANNOTATION).as_deref(),
        Some("NO")
    );
    let (old, seen) = (decode(&source).unwrap(), decode(&instance).unwrap());
    let (old, seen) = (old.codes.words(64 * 64), seen.codes.words(64 * 64));
    assert_eq!(old[8 * 64..], seen[8 * 64..]);
    let black = seen[0];
    assert!(seen[..8 * 64].iter().all(|code| *code == black));
}

#[test]
fn what_is_no_image_of_the_standard_is_refused() {
    let refused = |change: fn(&mut InMemDicomObject)| deidentifier(&[]).file(file(1, 0, change)).unwrap_err();
    assert!(matches!(
        refused(|object| {
            object.remove_element(tags::PIXEL_DATA);
        }),
        Refusal::NoImage
    ));
    let class = |class: &str| {
        deidentifier(&[])
            .file(file(1, 0, |object| {
                put(object, tags::SOP_CLASS_UID, VR::UI, class);
            }))
            .unwrap_err()
    };
    for own in ["1.3.12.2.1107.5.9.1", "1.2.840.10008.Smith"] {
        assert!(matches!(class(own), Refusal::PrivateClass), "{own}");
    }
    assert!(matches!(
        refused(|object| put(object, tags::PHOTOMETRIC_INTERPRETATION, VR::CS, "RGB")),
        Refusal::Pixels(DecodeError::Colour)
    ));
    assert!(matches!(
        deidentifier(&[])
            .file(Bytes::from_static(b"Smith^Jo"))
            .unwrap_err(),
        Refusal::Unreadable(InstanceError::NotDicom)
    ));
}

#[test]
fn bits_above_the_stored_ones_do_not_come_through() {
    let with_overlay = file(1, 0, |object| {
        let words: Vec<u16> = vec![0xF001; 64 * 64];
        object.put(DataElement::new(
            tags::PIXEL_DATA,
            VR::OW,
            PrimitiveValue::U16(words.into()),
        ));
    });
    let instance = read(&deidentifier(&[]).file(with_overlay).unwrap());
    let Some(PixelData::Native(bytes)) = instance.pixels else {
        panic!("uncompressed")
    };
    assert!(bytes.chunks(2).all(|pair| pair == [1, 0]));
}

#[test]
fn text_in_any_character_set_is_written_in_utf_8() {
    let instance = after(&[ProfileOption::InstitutionIdentity], |object| {
        put(object, tags::SPECIFIC_CHARACTER_SET, VR::CS, "ISO_IR 100");
        put(object, tags::INSTITUTION_NAME, VR::LO, "Universitätsklinik");
    });
    assert_eq!(
        text(&instance.header, tags::INSTITUTION_NAME).as_deref(),
        Some("Universitätsklinik")
    );
    assert_eq!(
        text(&instance.header, tags::SPECIFIC_CHARACTER_SET).as_deref(),
        Some("ISO_IR 192")
    );
}

#[test]
fn a_damaged_file_is_an_error_or_an_image_and_never_a_panic() {
    let whole = file(1, 0, |_| {});
    let header = whole.len() - 2 * 64 * 64;
    let options = [ProfileOption::ModifiedDates, ProfileOption::Descriptors];
    let deidentifier = deidentifier(&options);
    for at in 132..header {
        let mut damaged = whole.to_vec();
        damaged[at] = [0, 0xFF, b'\\', b'9'][at % 4];
        if let Ok(new) = deidentifier.file(Bytes::from(damaged)) {
            assert!(Instance::parse(Bytes::from(new.file)).is_ok(), "byte {at}");
        }
    }
}
