//! Searches on both engines: each kind of key finds what it should, in one order, and by an index.

use serde_json::{Value, json};
use sqlx::Row;

use super::statement::Select;
use super::*;
use crate::dicom::record::Record;
use crate::store::database::Engine;
use crate::store::fixture::{Fixture, at_once, both, instance};
use crate::store::{NewInstance, Sha, Stored};

/// One instance of its own series: its UIDs, and what else its header says.
struct Sample {
    study: &'static str,
    series: &'static str,
    sop: &'static str,
    header: Value,
}

fn samples() -> Vec<Sample> {
    let sample = |study, series, sop, header| Sample {
        study,
        series,
        sop,
        header,
    };
    vec![
        sample(
            "1.1",
            "1.1.1",
            "1.1.1.1",
            json!({
                "00080016": "1.2.840.10008.5.1.4.1.1.1.1", "00080020": "20240101", "00080030": "080000", "00080050": "A[1]",
                "00080060": "DX", "00080090": "House^Gregory", "00081030": "Spine_1", "00100010": "Doe^John",
                "00100020": "p1", "00200010": "s1", "00200011": 1, "00200013": 2, "00400244": "20240101", "00080031": "0800",
                "0008002A": "20240101233000.25-0500"
            }),
        ),
        sample(
            "1.1",
            "1.1.2",
            "1.1.2.1",
            json!({
                "00080020": "20240101", "00080030": "080000", "00080050": "A[1]", "00080060": "SR", "00080090": "House^Gregory",
                "00081030": "Spine_1", "00100010": "Doe^John", "00100020": "p1", "00200010": "s1", "00200011": 2
            }),
        ),
        sample(
            "1.2",
            "1.2.1",
            "1.2.1.1",
            json!({
                "00080020": "20240102", "00080030": "120000", "00080060": "CR", "00081030": "spine%1", "00100010": "Doe^Jane",
                "00100020": "P1", "00200013": 1, "0008002A": "202401021200"
            }),
        ),
        sample(
            "1.3",
            "1.3.1",
            "1.3.1.1",
            json!({
                "00080020": "20240103", "00080030": "235959.5", "00080060": "DX", "00100010": "Yamada^Tarou=山田^太郎=やまだ^たろう",
                "00100020": "p_3"
            }),
        ),
        sample("1.4", "1.4.1", "1.4.1.1", json!({ "00080060": "DX" })),
    ]
}

fn record(sample: &Sample) -> Record {
    let mut header = serde_json::Map::new();
    for (tag, uid) in [
        ("00080018", sample.sop),
        ("0020000D", sample.study),
        ("0020000E", sample.series),
    ] {
        header.insert(tag.to_owned(), json!({ "vr": "UI", "Value": [uid] }));
    }
    for (tag, value) in sample.header.as_object().unwrap() {
        let value = match value.as_str() {
            Some(name) if tag == "00100010" || tag == "00080090" => {
                let mut groups = name.split('=');
                let mut group = || groups.next().unwrap_or_default();
                json!({ "Alphabetic": group(), "Ideographic": group(), "Phonetic": group() })
            }
            _ => value.clone(),
        };
        header.insert(tag.clone(), json!({ "vr": "LO", "Value": [value] }));
    }
    Record::of_header(&Value::Object(header).to_string(), true).unwrap()
}

async fn filled() -> Vec<Fixture> {
    let both = both().await;
    for Fixture { store, .. } in &both {
        for sample in samples() {
            let series = SeriesUid::parse(sample.series).unwrap();
            let class = sample.header["00080016"].as_str().unwrap_or_default().to_owned();
            let new = NewInstance {
                series,
                class,
                ..instance(sample.study, sample.sop, Sha::of(b"DICM"))
            };
            let accepted = store.accept(&new, &record(&sample), Stored::Now, &at_once).await;
            accepted.unwrap().unwrap();
        }
    }
    both
}

async fn found(store: &Store, level: Level, parameters: &[(&str, &str)]) -> Vec<Found> {
    let query = Query::read(level, parameters.iter().copied()).unwrap();
    let search = Search {
        level,
        study: None,
        series: None,
        query: &query,
    };
    store.search(&search, query.limit.unwrap_or(100)).await.unwrap()
}

#[tokio::test]
async fn studies_are_found_by_each_of_their_keys() {
    for Fixture {
        store, folder: _kept, ..
    } in filled().await
    {
        for (name, value, wanted) in [
            ("PatientID", "", &["1.3", "1.2", "1.1", "1.4"][..]),
            ("PatientID", "p1", &["1.1"]),
            ("PatientID", "p*", &["1.3", "1.1"]),
            ("PatientID", "?1", &["1.2", "1.1"]),
            ("PatientID", "p_1", &[]),
            ("PatientID", "p_?", &["1.3"]),
            ("PatientName", "DOE^john", &["1.1"]),
            ("PatientName", "doe*", &["1.2", "1.1"]),
            ("PatientName", "doe", &[]),
            ("PatientName", "山田^太郎", &["1.3"]),
            ("PatientName", "やまだ*", &["1.3"]),
            ("PatientName", "yamada^tarou=山田^太郎*", &["1.3"]),
            ("ReferringPhysicianName", "house^gregory", &["1.1"]),
            ("AccessionNumber", "A[1]", &["1.1"]),
            ("AccessionNumber", "A[*", &["1.1"]),
            ("StudyID", "s1", &["1.1"]),
            ("StudyInstanceUID", "1.4,1.1", &["1.1", "1.4"]),
            ("ModalitiesInStudy", "SR", &["1.1"]),
            ("ModalitiesInStudy", "SR,CR", &["1.2", "1.1"]),
            ("ModalitiesInStudy", "D?", &["1.3", "1.1", "1.4"]),
            ("StudyDate", "20240102", &["1.2"]),
            ("StudyDate", "20240102-20240103", &["1.3", "1.2"]),
            ("StudyDate", "-20240102", &["1.2", "1.1"]),
            ("StudyDate", "20240102-", &["1.3", "1.2"]),
            ("StudyTime", "08", &["1.1"]),
            ("StudyTime", "0800-1200", &["1.2", "1.1"]),
            // keys without a column of their own
            ("StudyDescription", "Spine_1", &["1.1"]),
            ("StudyDescription", "*_1", &["1.1"]),
            ("StudyDescription", "spine%*", &["1.2"]),
        ] {
            let studies = found(&store, Level::Study, &[(name, value)]).await;
            let uids: Vec<_> = studies.iter().map(|one| one.study.as_str()).collect();
            assert_eq!(uids, wanted, "{name}={value}");
        }
        let both = [("PatientName", "doe*"), ("StudyDate", "20240102")];
        assert_eq!(
            found(&store, Level::Study, &both).await.len(),
            1,
            "all conditions hold"
        );
    }
}

/// A date with a time is compared as a moment, whatever offset from UTC it is written with (PS3.4 section C.2.2.2.5).
#[tokio::test]
async fn moments_are_found_in_utc() {
    for Fixture {
        store, folder: _kept, ..
    } in filled().await
    {
        for (value, wanted) in [
            ("20240101-20240131", &["1.1.1.1", "1.2.1.1"][..]),
            ("20240102", &["1.1.1.1", "1.2.1.1"]),
            ("20240101", &[]),
            ("20240101233000-0500", &["1.1.1.1"]),
            ("20240102043000", &["1.1.1.1"]),
            ("-2024010205", &["1.1.1.1"]),
            ("20240102053000+0100-", &["1.1.1.1", "1.2.1.1"]),
            ("20240102053000-", &["1.2.1.1"]),
            ("20231231-20240102065959-0500", &["1.1.1.1"]),
        ] {
            let instances = found(&store, Level::Instance, &[("AcquisitionDateTime", value)]).await;
            let mut uids: Vec<_> = instances
                .iter()
                .filter_map(|one| one.instance.as_ref().map(|(uid, _)| uid.as_str()))
                .collect();
            uids.sort_unstable();
            assert_eq!(uids, wanted, "{value}");
        }
    }
}

/// As many values and conditions as a query may have are no more than the engines take.
#[tokio::test]
async fn the_largest_query_is_answered() {
    for Fixture {
        store, folder: _kept, ..
    } in filled().await
    {
        let uids = vec!["1.1"; 500].join(",");
        let codes = vec!["D*"; 16].join(",");
        let mut all = vec![("StudyInstanceUID", uids.as_str()); 16];
        all.extend(vec![("ModalitiesInStudy", codes.as_str()); 16]);
        assert_eq!(found(&store, Level::Study, &all).await.len(), 1);
    }
}

#[tokio::test]
async fn two_ranges_of_a_date_and_a_time_are_one_of_moments() {
    for Fixture {
        store, folder: _kept, ..
    } in filled().await
    {
        for (dates, times, wanted) in [
            ("20240101-20240102", "09-13", &["1.2"][..]),
            ("20240101-20240102", "07-11", &["1.1"]),
            ("20240101-20240103", "09-01", &["1.2"]),
            ("20240101-", "09-", &["1.3", "1.2"]),
            // one day: the time of that day
            ("20240102", "09-13", &["1.2"]),
        ] {
            let asked = [("StudyDate", dates), ("StudyTime", times)];
            let studies = found(&store, Level::Study, &asked).await;
            let uids: Vec<_> = studies.iter().map(|one| one.study.as_str()).collect();
            assert_eq!(uids, wanted, "{dates} {times}");
        }
    }
}

#[tokio::test]
async fn series_and_instances_are_found_everywhere_or_in_their_study() {
    for Fixture {
        store, folder: _kept, ..
    } in filled().await
    {
        for (name, value, wanted) in [
            ("Modality", "DX", &["1.3.1", "1.1.1", "1.4.1"][..]),
            ("PatientID", "p1", &["1.1.1", "1.1.2"]),
            ("SeriesNumber", "02", &["1.1.2"]),
            ("SeriesInstanceUID", "1.2.1", &["1.2.1"]),
            ("PerformedProcedureStepStartDate", "-20240101", &["1.1.1"]),
            ("SeriesTime", "08", &["1.1.1"]),
            ("SeriesTime", "0801-", &[]),
        ] {
            let series = found(&store, Level::Series, &[(name, value)]).await;
            let uids: Vec<_> = series
                .iter()
                .map(|one| one.series.as_ref().unwrap().0.as_str())
                .collect();
            assert_eq!(uids, wanted, "{name}={value}");
        }
        for (name, value, wanted) in [
            ("SOPInstanceUID", "1.2.1.1", &["1.2.1.1"][..]),
            ("InstanceNumber", "1", &["1.2.1.1"]),
            ("SOPClassUID", "1.2.840.10008.5.1.4.1.1.1.1", &["1.1.1.1"]),
            ("Modality", "SR", &["1.1.2.1"]),
            ("StudyID", "s1", &["1.1.1.1", "1.1.2.1"]),
        ] {
            let instances = found(&store, Level::Instance, &[(name, value)]).await;
            let uids: Vec<_> = instances
                .iter()
                .map(|one| one.instance.as_ref().unwrap().0.as_str())
                .collect();
            assert_eq!(uids, wanted, "{name}={value}");
        }
        let (study, series) = (
            StudyUid::parse("1.1").unwrap(),
            SeriesUid::parse("1.1.2").unwrap(),
        );
        let query = Query::default();
        let mut search = Search {
            level: Level::Series,
            study: Some(&study),
            series: None,
            query: &query,
        };
        let in_study = store.search(&search, 100).await.unwrap();
        assert_eq!(in_study.len(), 2);
        assert!(
            in_study
                .iter()
                .all(|one| one.study_counts.is_none() && one.series_instances == Some(1))
        );
        search.level = Level::Instance;
        search.series = Some(&series);
        let in_series = store.search(&search, 100).await.unwrap();
        assert_eq!(in_series.len(), 1);
        assert_eq!(in_series[0].series_instances, None);
        assert!(in_series[0].instance.as_ref().unwrap().1.contains("1.1.2.1"));
    }
}

#[tokio::test]
async fn a_study_is_counted_and_pages_fit_together() {
    for Fixture {
        store, folder: _kept, ..
    } in filled().await
    {
        let all = found(&store, Level::Study, &[]).await;
        let counted = all[2].study_counts.as_ref().unwrap();
        assert_eq!((counted.series, counted.instances), (2, 2));
        assert_eq!(counted.modalities, ["DX", "SR"]);
        assert_eq!(all[2].removed, 0);
        let mut paged = found(&store, Level::Study, &[("limit", "3")]).await;
        paged.extend(found(&store, Level::Study, &[("limit", "3"), ("offset", "3")]).await);
        assert_eq!(paged, all);
        let removed =
            crate::store::database::sql!("UPDATE instances SET removed_at = 7 WHERE sop_uid = '1.1.1.1'");
        store
            .database
            .query(removed)
            .execute(store.database.read())
            .await
            .unwrap();
        for (level, wanted) in [(Level::Study, 1), (Level::Series, 1), (Level::Instance, 1)] {
            let removed: i64 = found(&store, level, &[("PatientID", "p1")])
                .await
                .iter()
                .map(|one| one.removed)
                .sum();
            assert_eq!(removed, wanted);
        }
    }
}

/// SQLite says how it would go about it: no table is read through.
#[tokio::test]
async fn a_key_of_a_study_is_looked_up_in_an_index() {
    let fixture = both().await.remove(0);
    for (level, name, value) in [
        (Level::Study, "PatientID", "p1"),
        (Level::Study, "PatientName", "doe^john"),
        (Level::Study, "AccessionNumber", "1"),
        (Level::Study, "ReferringPhysicianName", "house"),
        (Level::Study, "StudyID", "1"),
        (Level::Study, "StudyDate", "20240101-20240102"),
        (Level::Study, "StudyInstanceUID", "1.2,1.3"),
        (Level::Series, "SeriesInstanceUID", "1.2.3"),
        (Level::Series, "PatientID", "p1"),
        (Level::Series, "PerformedProcedureStepStartDate", "20240101"),
        (Level::Instance, "SOPInstanceUID", "1.2.3.4"),
        (Level::Instance, "AccessionNumber", "1"),
    ] {
        let query = Query::read(level, [(name, value)]).unwrap();
        let search = Search {
            level,
            study: None,
            series: None,
            query: &query,
        };
        let plan = Select::of(&search, Engine::Sqlite, 10).explained();
        let rows = plan.fetch_all(fixture.store.database.read()).await.unwrap();
        let steps: Vec<String> = rows.iter().map(|row| row.get("detail")).collect();
        assert!(
            steps.iter().all(|step| !step.starts_with("SCAN")),
            "{name}: {steps:?}"
        );
    }
}
