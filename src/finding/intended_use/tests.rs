//! Of [`super`].

use super::*;

fn spine() -> IntendedUse {
    IntendedUse {
        statement: String::new(),
        clinical: false,
        modalities: vec!["DX".into(), "CR".into()],
        body_parts: vec!["LSPINE".into(), "122496007".into()],
        views: vec!["LL".into()],
        age_years: [50, 110],
        laterality: Vec::new(),
        image_size: None,
    }
}

fn fitting() -> Attributes {
    Attributes {
        modality: Some("DX".into()),
        body_part: Some("LSPINE".into()),
        region_code: None,
        view_position: Some("LL".into()),
        view_code: None,
        age_years: Some(72),
        ..Attributes::default()
    }
}

fn codes(attributes: &Attributes) -> Vec<String> {
    spine()
        .violations(attributes)
        .into_iter()
        .map(|violation| violation.code)
        .collect()
}

#[test]
fn an_image_inside_has_no_violation_by_text_or_by_code() {
    assert!(codes(&fitting()).is_empty());
    let coded = Attributes {
        body_part: None,
        region_code: Some("122496007".into()),
        ..fitting()
    };
    assert!(codes(&coded).is_empty());
}

#[test]
fn each_attribute_is_checked_and_silence_is_not_consent() {
    assert_eq!(
        codes(&Attributes {
            modality: Some("CT".into()),
            ..fitting()
        }),
        ["modality"]
    );
    assert_eq!(
        codes(&Attributes {
            body_part: Some("HAND".into()),
            ..fitting()
        }),
        ["body-part"]
    );
    assert_eq!(
        codes(&Attributes {
            view_position: Some("AP".into()),
            ..fitting()
        }),
        ["view"]
    );
    assert_eq!(
        codes(&Attributes {
            age_years: Some(49),
            ..fitting()
        }),
        ["age"]
    );
    assert_eq!(
        codes(&Attributes::default()),
        [
            "modality-unknown",
            "body-part-unknown",
            "view-unknown",
            "age-unknown"
        ]
    );
}

#[test]
fn a_header_that_contradicts_itself_is_outside() {
    let both = |position: &str, code: &str| Attributes {
        body_part: Some(position.into()),
        region_code: Some(code.into()),
        ..fitting()
    };
    assert!(codes(&both("LSPINE", "122496007")).is_empty());
    assert_eq!(codes(&both("LSPINE", "85562004")), ["body-part"]);
    assert_eq!(codes(&both("HAND", "122496007")), ["body-part"]);
}

#[test]
fn laterality_and_size_are_checked_where_the_model_states_them() {
    let hand = IntendedUse {
        laterality: vec!["L".into(), "B".into()],
        image_size: Some(ImageSize {
            rows: [500, 5000],
            columns: [400, 4000],
        }),
        ..spine()
    };
    let codes = |image: Option<&str>, series: Option<&str>, rows, columns| -> Vec<String> {
        let attributes = Attributes {
            image_laterality: image.map(Into::into),
            laterality: series.map(Into::into),
            rows: Some(rows),
            columns: Some(columns),
            ..fitting()
        };
        let violations = hand.violations(&attributes);
        violations.into_iter().map(|violation| violation.code).collect()
    };
    let none: [String; 0] = [];
    assert_eq!(codes(Some("L"), None, 500, 4000), none);
    assert_eq!(codes(None, Some("B"), 5000, 400), none);
    assert_eq!(codes(None, None, 500, 400), ["laterality-unknown"]);
    assert_eq!(codes(Some("R"), None, 500, 400), ["laterality"]);
    assert_eq!(
        codes(Some("L"), Some("R"), 500, 400),
        ["laterality"],
        "they contradict each other"
    );
    assert_eq!(codes(Some("L"), None, 499, 400), ["image-size"]);
    assert_eq!(codes(Some("L"), None, 500, 4001), ["image-size"]);
    assert!(hand.check().is_ok());
    let other = IntendedUse {
        laterality: vec!["left".into()],
        ..hand.clone()
    };
    assert!(other.check().unwrap_err().contains("L, R, B and U"));
    let falling = IntendedUse {
        image_size: Some(ImageSize {
            rows: [2, 1],
            columns: [1, 1],
        }),
        ..hand
    };
    assert!(falling.check().is_err());
}

#[test]
fn free_text_is_not_repeated() {
    let odd = Attributes {
        body_part: Some("JOHN SMITH BORN 1950".into()),
        ..fitting()
    };
    assert!(!spine().violations(&odd)[0].message.contains("SMITH"));
}
