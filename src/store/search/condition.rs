//! What results have to be, as SQL.

use dicom_core::dictionary::{DataDictionary, DataDictionaryEntry};
use dicom_core::{Tag, VR};
use dicom_dictionary_std::{StandardDataDictionary, tags};

use super::statement::Select;
use crate::dicom::json::key;
use crate::dicom::query::{Condition, Matching, Query};
use crate::dicom::record::Level;
use crate::store::database::Engine;

/// Dates with the times that belong to them: two ranges are one of moments (PS3.4 section C.2.2.2.5.3).
const MOMENTS: [(Tag, Tag); 2] = [
    (tags::STUDY_DATE, tags::STUDY_TIME),
    (
        tags::PERFORMED_PROCEDURE_STEP_START_DATE,
        tags::PERFORMED_PROCEDURE_STEP_START_TIME,
    ),
];

impl Select {
    /// Adds what the query asks for.
    pub(super) fn conditions(&mut self, query: &Query, conditions: &mut Vec<String>) {
        for condition in &query.conditions {
            let date = condition.attribute().and_then(|time| date_of(query, time));
            let sql = match (date, condition.any.as_slice()) {
                (
                    Some((date, (from, to))),
                    [
                        Matching::Range {
                            from: first,
                            to: last,
                        },
                    ],
                ) => self.moments(date, condition, [(from, first), (to, last)]),
                _ => Some(self.condition(condition)),
            };
            conditions.extend(sql);
        }
    }

    /// The time of a range of dates: it counts on the first day and on the last. Of the dates themselves another condition takes
    /// care.
    fn moments(&mut self, date: Tag, condition: &Condition, bounds: [(&str, &str); 2]) -> Option<String> {
        let (date, time) = (column(&[date]), column(&condition.path));
        let mut parts = Vec::new();
        for ((day, time_of_day), comparison) in bounds.into_iter().zip([">=", "<="]) {
            if !day.is_empty() && !time_of_day.is_empty() {
                let bound = self.text(&format!("{day}{time_of_day}"));
                parts.push(format!("{date} || {time} {comparison} {bound}"));
            }
        }
        (!parts.is_empty()).then(|| parts.join(" AND "))
    }

    fn condition(&mut self, condition: &Condition) -> String {
        let (path, any) = (&condition.path, &condition.any);
        if path.as_slice() == [tags::MODALITIES_IN_STUDY] {
            let any = self.any("m.modality", VR::CS, any);
            return format!(
                "EXISTS (SELECT 1 FROM series_records m WHERE m.study_uid = study_records.study_uid AND {any})"
            );
        }
        let vr = path.last().and_then(|tag| vr(*tag)).unwrap_or(VR::LO);
        let (column, is_kept) = match kept(path) {
            Some(column) => (column.to_owned(), true),
            None => (self.in_json(path, vr), false),
        };
        // in the JSON, a time is as it was written
        let vr = if is_kept && vr == VR::TM { VR::DA } else { vr };
        if path.as_slice() == [tags::PATIENT_NAME] {
            return self.patient_name(any);
        }
        self.any(&column, vr, any)
    }

    fn any(&mut self, column: &str, vr: VR, any: &[Matching]) -> String {
        // a list of many values is no tree of as many levels
        let exact: Option<Vec<&String>> = any
            .iter()
            .map(|matching| match matching {
                Matching::Exact(text) => Some(text),
                _ => None,
            })
            .collect();
        if let Some(list) = exact.filter(|list| list.len() > 1) {
            let list: Vec<String> = list.into_iter().map(|text| self.text(text)).collect();
            return format!("{column} IN ({})", list.join(", "));
        }
        let any: Vec<String> = any
            .iter()
            .map(|matching| self.one(column, vr, matching))
            .collect();
        format!("({})", any.join(" OR "))
    }

    fn one(&mut self, column: &str, vr: VR, matching: &Matching) -> String {
        match matching {
            Matching::Exact(text) | Matching::Name(text) => format!("{column} = {}", self.text(text)),
            Matching::Wild(pattern) | Matching::WildName(pattern) => self.wild(column, pattern),
            Matching::Number(number) if column.ends_with(".number") => {
                format!("{column} = {}", self.number(*number))
            }
            Matching::Number(number) => format!("{column} = {}", self.text(&number.to_string())),
            Matching::Range { from, to } if vr == VR::TM => {
                let digits = |bound: &str| bound.replace('.', "");
                let column =
                    format!("substr(replace(replace({column}, ':', ''), '.', '') || '000000000000', 1, 12)");
                self.range(&column, &digits(from), &digits(to))
            }
            Matching::Range { from, to } => self.range(column, from, to),
            Matching::Period(period) => self.in_period(column, period),
        }
    }

    fn range(&mut self, column: &str, from: &str, to: &str) -> String {
        if from == to {
            return format!("{column} = {}", self.text(from));
        }
        let mut parts = Vec::new();
        if from.is_empty() {
            // what is not known is in no range
            parts.push(format!("{column} <> ''"));
        } else {
            parts.push(format!("{column} >= {}", self.text(from)));
        }
        if !to.is_empty() {
            parts.push(format!("{column} <= {}", self.text(to)));
        }
        format!("({})", parts.join(" AND "))
    }

    /// Letter by letter on both engines: `LIKE` of SQLite would not tell upper case from lower.
    fn wild(&mut self, column: &str, pattern: &str) -> String {
        match self.engine {
            Engine::Sqlite => format!("{column} GLOB {}", self.text(&pattern.replace('[', "[[]"))),
            Engine::Postgres => {
                let mut like = String::new();
                for character in pattern.chars() {
                    match character {
                        '*' => like.push('%'),
                        '?' => like.push('_'),
                        '%' | '_' | '\\' => like.extend(['\\', character]),
                        other => like.push(other),
                    }
                }
                format!("{column} LIKE {}", self.text(&like))
            }
        }
    }

    /// By the alphabetic group, whose index is used; what is no ASCII may be in another group, and a name with groups is all of them.
    fn patient_name(&mut self, any: &[Matching]) -> String {
        let (alphabetic, groups) = ("study_records.patient_name", "study_records.patient_name_groups");
        let parts: Vec<String> = any
            .iter()
            .map(|matching| {
                let alone = self.one(alphabetic, VR::PN, matching);
                let (Matching::Name(name) | Matching::WildName(name)) = matching else {
                    return alone;
                };
                if name.contains('=') {
                    return self.one(&format!("{alphabetic} || '=' || {groups}"), VR::PN, matching);
                }
                if name.is_ascii() {
                    return alone;
                }
                let among = self.wild(&format!("'=' || {groups} || '='"), &format!("*={name}=*"));
                format!("{alone} OR {among}")
            })
            .collect();
        format!("({})", parts.join(" OR "))
    }

    /// The first value of an attribute that has no column.
    fn in_json(&self, path: &[Tag], vr: VR) -> String {
        let table = match path.first().map(|tag| Level::of(*tag)) {
            Some(Level::Study) => "study_records.attributes",
            Some(Level::Series) => "series_records.attributes",
            _ => "headers.header",
        };
        let group = if vr == VR::PN { Some("Alphabetic") } else { None };
        let text = match self.engine {
            Engine::Sqlite => {
                let steps: Vec<String> = path
                    .iter()
                    .map(|tag| format!(".\"{}\".Value[0]", key(*tag)))
                    .collect();
                let steps = steps.concat();
                let group = group.map(|group| format!(".{group}")).unwrap_or_default();
                format!("CAST(json_extract({table}, '${steps}{group}') AS TEXT)")
            }
            Engine::Postgres => {
                let mut steps: Vec<String> =
                    path.iter().map(|tag| format!("{},Value,0", key(*tag))).collect();
                steps.extend(group.map(str::to_owned));
                format!("(CAST({table} AS jsonb) #>> '{{{}}}')", steps.join(","))
            }
        };
        if vr == VR::PN {
            format!("lower({text})")
        } else {
            text
        }
    }
}

/// The range of dates that goes with a time, where it is more than one day.
fn date_of(query: &Query, time: Tag) -> Option<(Tag, (&str, &str))> {
    let (date, _) = *MOMENTS.iter().find(|(_, of)| *of == time)?;
    query
        .conditions
        .iter()
        .find_map(|condition| match condition.any.as_slice() {
            [Matching::Range { from, to }] if condition.attribute() == Some(date) && from != to => {
                Some((date, (from.as_str(), to.as_str())))
            }
            _ => None,
        })
}

/// The column of a key of its own.
fn kept(path: &[Tag]) -> Option<&'static str> {
    let [tag] = path else { return None };
    Some(match *tag {
        tags::STUDY_INSTANCE_UID => "study_records.study_uid",
        tags::PATIENT_ID => "study_records.patient_id",
        tags::PATIENT_NAME => "study_records.patient_name",
        tags::STUDY_DATE => "study_records.study_date",
        tags::STUDY_TIME => "study_records.study_time",
        tags::ACCESSION_NUMBER => "study_records.accession_number",
        tags::REFERRING_PHYSICIAN_NAME => "study_records.referring_physician",
        tags::STUDY_ID => "study_records.study_id",
        tags::SERIES_INSTANCE_UID => "series_records.series_uid",
        tags::MODALITY => "series_records.modality",
        tags::SERIES_NUMBER => "series_records.number",
        tags::PERFORMED_PROCEDURE_STEP_START_DATE => "series_records.start_date",
        tags::PERFORMED_PROCEDURE_STEP_START_TIME => "series_records.start_time",
        tags::SOP_INSTANCE_UID => "instances.sop_uid",
        tags::SOP_CLASS_UID => "instances.sop_class",
        tags::INSTANCE_NUMBER => "instances.number",
        _ => return None,
    })
}

/// The column of a date or a time that belong together.
fn column(path: &[Tag]) -> &'static str {
    kept(path).unwrap_or("''")
}

fn vr(tag: Tag) -> Option<VR> {
    Some(StandardDataDictionary.by_tag(tag)?.vr().relaxed())
}
