//! What a report says of each kind of result.

use super::*;

#[test]
fn a_probability_is_a_group_with_its_threshold_and_its_image() {
    let headers = headers();
    let sources = sources(&headers);
    let object = report(vec![scored(&sources[0], vec![osteoporosis(0.75)])], &headers[..1]).unwrap();
    let groups = groups(&object);
    assert_eq!(groups.len(), 1);
    let group = groups[0];
    let (value, unit, named) = number(children(group, "P-SCT-64859006")[0]);
    assert_eq!((value.as_str(), unit.as_str()), ("0.75", "1"));
    assert_eq!(
        named,
        concept("99OSTEON", "P-SCT-64859006", "Probability of Osteoporosis")
    );
    assert_eq!(coded_value(children(group, "121071")[0]).value, "64859006");
    assert_eq!(coded_value(children(group, "121052")[0]).meaning, "Present");
    // of the phantom: Anatomic Region Sequence is the lumbar spine, unpaired
    assert_eq!(coded_value(children(group, "363698007")[0]).value, "122496007");
    assert_eq!(image(children(group, "121112")[0]), sources[0].uid.as_str());
    let parameters: Vec<_> = children(group, "111002")
        .into_iter()
        .map(|item| text(item, tags::TEXT_VALUE).unwrap())
        .collect();
    let digest = format!("model-digest={}", "ab".repeat(32));
    assert_eq!(parameters, ["threshold=0.4", digest.as_str(), "provider=CPU"]);
    assert_eq!(text(children(group, "111003")[0], tags::TEXT_VALUE).unwrap(), "3");
}

#[test]
fn below_the_threshold_a_finding_is_absent() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let object = report(vec![scored(source, vec![osteoporosis(0.25)])], &headers).unwrap();
    assert_eq!(
        coded_value(children(groups(&object)[0], "121052")[0]).meaning,
        "Absent"
    );
}

#[test]
fn of_classes_each_has_its_group_and_one_is_present() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let class = |value: &str, probability, positive| Finding {
        label: value.into(),
        code: concept("SCT", value, value),
        reading: Reading::Probability {
            probability,
            threshold: None,
            positive,
        },
    };
    let classes = vec![
        class("17621005", 0.125, false),
        class("312894000", 0.5, true),
        class("64859006", 0.375, false),
    ];
    let object = report(vec![scored(source, classes)], &headers).unwrap();
    let said: Vec<_> = groups(&object)
        .into_iter()
        .map(|group| {
            assert!(children(group, "111002").iter().all(|parameter| {
                !text(parameter, tags::TEXT_VALUE)
                    .unwrap()
                    .starts_with("threshold")
            }));
            (
                coded_value(children(group, "121071")[0]).value,
                coded_value(children(group, "121052")[0]).meaning,
            )
        })
        .collect();
    let expected = [
        ("17621005", "Absent"),
        ("312894000", "Present"),
        ("64859006", "Absent"),
    ];
    assert_eq!(said, expected.map(|(code, is)| (code.to_owned(), is.to_owned())));
}

#[test]
fn a_quantity_is_a_number_under_its_own_name_and_unit() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let quantity = Finding {
        label: "bone-density".into(),
        code: concept("99X", "density", "Bone mineral density"),
        reading: Reading::Quantity {
            value: 0.875,
            unit: "g/cm2".into(),
        },
    };
    let object = report(vec![scored(source, vec![quantity])], &headers).unwrap();
    let group = groups(&object)[0];
    let (value, unit, _) = number(children(group, "density")[0]);
    assert_eq!((value.as_str(), unit.as_str()), ("0.875", "g/cm2"));
    assert!(children(group, "121071").is_empty() && children(group, "121052").is_empty());
}

#[test]
fn a_study_without_a_score_says_so_with_its_reason() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let object = report(vec![refused(source)], &headers).unwrap();
    let group = groups(&object)[0];
    assert_eq!(image(children(group, "121112")[0]), source.uid.as_str());
    let of_study = children(children(&object, "C0034375")[0], "outcome")[0];
    for outcome in [children(group, "outcome")[0], of_study] {
        assert_eq!(coded_value(outcome).value, "refused");
        let reason = children(outcome, "reason")[0];
        // longer than 16 characters: a Long Code Value
        assert_eq!(
            coded_value(reason),
            concept("99OSTEON", "not-a-probability", "not a probability")
        );
        assert_eq!(
            text(children(reason, "121106")[0], tags::TEXT_VALUE).unwrap(),
            "a number that is none"
        );
    }
    // and a study of which nothing could be looked at
    let object = report(Vec::new(), &headers).unwrap();
    assert!(groups(&object).is_empty());
    let of_study = children(children(&object, "C0034375")[0], "outcome")[0];
    assert_eq!(coded_value(children(of_study, "reason")[0]).value, "empty-study");
}

#[test]
fn where_several_images_were_scored_the_study_has_groups_of_its_own() {
    let headers = headers();
    let sources = sources(&headers);
    let object = report(
        vec![
            scored(&sources[0], vec![osteoporosis(0.25)]),
            scored(&sources[1], vec![osteoporosis(0.75)]),
        ],
        &headers,
    )
    .unwrap();
    let groups = groups(&object);
    assert_eq!(groups.len(), 3);
    let study = groups[2];
    assert_eq!(
        text(children(study, "112039")[0], tags::TEXT_VALUE).unwrap(),
        "study: osteoporosis"
    );
    let images: Vec<_> = children(study, "121112").into_iter().map(image).collect();
    assert_eq!(images, [sources[0].uid.as_str(), sources[1].uid.as_str()]);
    assert_eq!(number(children(study, "P-SCT-64859006")[0]).0, "0.75");
    let mut tracked: Vec<_> = groups
        .iter()
        .map(|group| text(children(group, "112040")[0], tags::UID).unwrap())
        .collect();
    tracked.dedup();
    assert_eq!(tracked.len(), 3);
}

#[test]
fn a_score_for_research_is_marked() {
    let headers = headers();
    let source = &sources(&headers)[0];
    let mut instance = scored(source, vec![osteoporosis(0.75)]);
    instance.intended_use = Some(IntendedUseCheck::Overridden {
        violations: vec![Violation {
            code: "age".into(),
            message: "age 30, not 50 to 90".into(),
        }],
    });
    let object = report(vec![instance], &headers).unwrap();
    let marked = children(groups(&object)[0], "override")[0];
    assert_eq!(coded_value(marked).value, "intended-use");
    assert_eq!(
        text(children(marked, "121106")[0], tags::TEXT_VALUE).unwrap(),
        "age 30, not 50 to 90"
    );
}
