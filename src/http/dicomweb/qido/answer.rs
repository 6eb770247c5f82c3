//! What a result says (PS3.18 tables 10.6.3-3 to 10.6.3-5): the attributes that every result has, and those that were asked for.

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use serde_json::{Value, json};

use crate::dicom::json::{Attributes, key, make_absolute};
use crate::dicom::query::Include;
use crate::dicom::record::Level;
use crate::fault::{Fault, FaultKind};
use crate::store::{Found, Search};

/// Of studies, with the value representations of what is shown without a value where it is not known.
const OF_STUDY: [(Tag, &str); 11] = [
    (tags::STUDY_DATE, "DA"),
    (tags::STUDY_TIME, "TM"),
    (tags::ACCESSION_NUMBER, "SH"),
    (tags::REFERRING_PHYSICIAN_NAME, "PN"),
    (tags::PATIENT_NAME, "PN"),
    (tags::PATIENT_ID, "LO"),
    (tags::PATIENT_BIRTH_DATE, "DA"),
    (tags::PATIENT_SEX, "CS"),
    (tags::STUDY_ID, "SH"),
    (tags::STUDY_INSTANCE_UID, "UI"),
    (tags::STUDY_DESCRIPTION, "LO"),
];
const OF_SERIES: [(Tag, &str); 4] = [
    (tags::MODALITY, "CS"),
    (tags::SERIES_NUMBER, "IS"),
    (tags::SERIES_INSTANCE_UID, "UI"),
    (tags::SERIES_DESCRIPTION, "LO"),
];
/// Where they are known.
const ALSO_OF_STUDY: [Tag; 1] = [tags::TIMEZONE_OFFSET_FROM_UTC];
const ALSO_OF_SERIES: [Tag; 3] = [
    tags::PERFORMED_PROCEDURE_STEP_START_DATE,
    tags::PERFORMED_PROCEDURE_STEP_START_TIME,
    tags::REQUEST_ATTRIBUTES_SEQUENCE,
];
const OF_INSTANCE: [Tag; 7] = [
    tags::SOP_CLASS_UID,
    tags::SOP_INSTANCE_UID,
    tags::INSTANCE_NUMBER,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::BITS_ALLOCATED,
];

/// The attributes of a result; `base` is the URL of the service.
pub(super) fn result(found: Found, search: &Search<'_>, base: &str) -> Result<Attributes, Fault> {
    let include = &search.query.include;
    let mut result = Attributes::new();
    let of_study = read(&found.of_study)?;
    let named = |of: &[(Tag, &str)], also: &[Tag]| -> Vec<Tag> {
        of.iter()
            .map(|(tag, _)| *tag)
            .chain(also.iter().copied())
            .collect()
    };
    if let Some(counts) = &found.study_counts {
        put(&mut result, &of_study, &named(&OF_STUDY, &ALSO_OF_STUDY));
        fill(&mut result, &OF_STUDY);
        put_value(
            &mut result,
            tags::MODALITIES_IN_STUDY,
            "CS",
            &json!(counts.modalities),
        );
        put_value(
            &mut result,
            tags::NUMBER_OF_STUDY_RELATED_SERIES,
            "IS",
            &json!([counts.series]),
        );
        put_value(
            &mut result,
            tags::NUMBER_OF_STUDY_RELATED_INSTANCES,
            "IS",
            &json!([counts.instances]),
        );
    }
    put_included(&mut result, of_study, include, |_| true);
    let mut url = format!("{base}/studies/{}", found.study);
    put_value(&mut result, tags::STUDY_INSTANCE_UID, "UI", &json!([found.study]));
    if let Some((series, of_series)) = found.series {
        let of_series = read(&of_series)?;
        if let Some(instances) = found.series_instances {
            put(&mut result, &of_series, &named(&OF_SERIES, &ALSO_OF_SERIES));
            fill(&mut result, &OF_SERIES);
            put_value(
                &mut result,
                tags::NUMBER_OF_SERIES_RELATED_INSTANCES,
                "IS",
                &json!([instances]),
            );
        }
        put_included(&mut result, of_series, include, |_| true);
        put_value(&mut result, tags::SERIES_INSTANCE_UID, "UI", &json!([series]));
        url += "/series/";
        url += series.as_str();
    }
    if let Some((instance, header)) = found.instance {
        url += "/instances/";
        url += instance.as_str();
        let mut header = read(&header)?;
        make_absolute(&mut header, &format!("{url}/bulkdata"));
        put(&mut result, &header, &OF_INSTANCE);
        // of study and series, what holds for them is said already
        put_included(&mut result, header, include, |tag| {
            Level::of(tag) == Level::Instance
        });
        put_value(&mut result, tags::SOP_INSTANCE_UID, "UI", &json!([instance]));
    }
    put_value(
        &mut result,
        tags::SPECIFIC_CHARACTER_SET,
        "CS",
        &json!(["ISO_IR 192"]),
    );
    put_value(&mut result, tags::RETRIEVE_URL, "UR", &json!([url]));
    // the least available of its instances
    let available = if found.removed == 0 {
        "ONLINE"
    } else {
        "UNAVAILABLE"
    };
    put_value(
        &mut result,
        tags::INSTANCE_AVAILABILITY,
        "CS",
        &json!([available]),
    );
    Ok(result)
}

fn read(attributes: &str) -> Result<Attributes, Fault> {
    serde_json::from_str(attributes).map_err(|_| {
        Fault::new(
            FaultKind::Internal,
            "database",
            "what is kept of a study cannot be read: it may belong to another version",
        )
    })
}

fn put(result: &mut Attributes, from: &Attributes, tags: &[Tag]) {
    let there = tags.iter().filter_map(|tag| from.get_key_value(&key(*tag)));
    result.extend(there.map(|(name, attribute)| (name.clone(), attribute.clone())));
}

fn put_included(result: &mut Attributes, from: Attributes, include: &Include, is_of: impl Fn(Tag) -> bool) {
    let included = from.into_iter().filter(|(name, _)| {
        let number = u32::from_str_radix(name, 16).unwrap_or_default();
        include.has(name) && is_of(Tag((number >> 16) as u16, number as u16))
    });
    result.extend(included);
}

/// Shows what is not known as an attribute without a value.
fn fill(result: &mut Attributes, attributes: &[(Tag, &str)]) {
    for (tag, vr) in attributes {
        result.entry(key(*tag)).or_insert_with(|| json!({ "vr": vr }));
    }
}

fn put_value(result: &mut Attributes, tag: Tag, vr: &str, values: &Value) {
    let attribute = if values.as_array().is_some_and(Vec::is_empty) {
        json!({ "vr": vr })
    } else {
        json!({ "vr": vr, "Value": values })
    };
    result.insert(key(tag), attribute);
}
