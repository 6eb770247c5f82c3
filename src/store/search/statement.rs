//! A search as one statement.

use sqlx::AssertSqlSafe;

use super::Search;
use crate::dicom::record::Level;
use crate::store::database::{Engine, Statement};

/// A statement that is being written, with what is bound to it.
pub(super) struct Select {
    pub(super) engine: Engine,
    text: String,
    bound: Vec<Bound>,
}

enum Bound {
    Text(String),
    Number(i64),
}

/// Where one is missing, it comes last, on both engines.
const LAST: &str = "9223372036854775807";

impl Select {
    /// The statement of a search.
    pub(super) fn of(search: &Search<'_>, engine: Engine, limit: u32) -> Self {
        let mut select = Self {
            engine,
            text: "SELECT ".to_owned(),
            bound: Vec::new(),
        };
        select.columns(search);
        select.text += match search.level {
            Level::Study => " FROM study_records",
            Level::Series => {
                " FROM series_records JOIN study_records ON study_records.study_uid = series_records.study_uid"
            }
            Level::Instance => {
                " FROM instances JOIN headers ON headers.sop_uid = instances.sop_uid \
                 JOIN series_records ON series_records.study_uid = instances.study_uid \
                 AND series_records.series_uid = instances.series_uid \
                 JOIN study_records ON study_records.study_uid = instances.study_uid"
            }
        };
        let mut conditions = Vec::new();
        if let Some(study) = search.study {
            let study = select.text(study.as_str());
            conditions.push(format!("study_records.study_uid = {study}"));
            // the index of the instances begins with the study
            if search.level == Level::Instance {
                conditions.push(format!("instances.study_uid = {study}"));
            }
        }
        if let Some(series) = search.series {
            let series = select.text(series.as_str());
            conditions.push(format!("series_records.series_uid = {series}"));
            if search.level == Level::Instance {
                conditions.push(format!("instances.series_uid = {series}"));
            }
        }
        select.conditions(search.query, &mut conditions);
        if !conditions.is_empty() {
            select.text += " WHERE ";
            select.text += &conditions.join(" AND ");
        }
        select.order(search);
        let (limit, offset) = (
            select.number(i64::from(limit)),
            select.number(i64::from(search.query.offset)),
        );
        select.text += " LIMIT ";
        select.text += &limit;
        select.text += " OFFSET ";
        select.text += &offset;
        select
    }

    fn columns(&mut self, search: &Search<'_>) {
        let mut columns = vec![
            "study_records.study_uid",
            "study_records.attributes AS study_attributes",
        ];
        if search.counts_study() {
            columns.extend([
                "(SELECT count(*) FROM series_records s WHERE s.study_uid = study_records.study_uid) AS study_series",
                "(SELECT count(*) FROM instances i WHERE i.study_uid = study_records.study_uid) AS study_instances",
                match self.engine {
                    Engine::Sqlite => {
                        "(SELECT group_concat(DISTINCT s.modality) FROM series_records s \
                         WHERE s.study_uid = study_records.study_uid) AS modalities"
                    }
                    Engine::Postgres => {
                        "(SELECT string_agg(DISTINCT s.modality, ',') FROM series_records s \
                         WHERE s.study_uid = study_records.study_uid) AS modalities"
                    }
                },
            ]);
        }
        if search.level != Level::Study {
            columns.extend([
                "series_records.series_uid",
                "series_records.attributes AS series_attributes",
            ]);
        }
        if search.counts_series() {
            columns.push(
                "(SELECT count(*) FROM instances i WHERE i.study_uid = series_records.study_uid \
                 AND i.series_uid = series_records.series_uid) AS series_instances",
            );
        }
        columns.push(match search.level {
            Level::Study => {
                "(SELECT count(*) FROM instances i WHERE i.study_uid = study_records.study_uid AND i.removed_at IS NOT NULL) \
                 AS removed"
            }
            Level::Series => {
                "(SELECT count(*) FROM instances i WHERE i.study_uid = series_records.study_uid \
                 AND i.series_uid = series_records.series_uid AND i.removed_at IS NOT NULL) AS removed"
            }
            Level::Instance => "CAST(CASE WHEN instances.removed_at IS NULL THEN 0 ELSE 1 END AS BIGINT) AS removed",
        });
        if search.level == Level::Instance {
            columns.extend(["instances.sop_uid", "headers.header"]);
        }
        self.text += &columns.join(", ");
    }

    fn order(&mut self, search: &Search<'_>) {
        let mut order = Vec::new();
        if search.study.is_none() {
            order.extend([
                "study_records.study_date DESC".to_owned(),
                "study_records.study_time DESC".to_owned(),
                "study_records.study_uid DESC".to_owned(),
            ]);
        }
        if search.level != Level::Study && search.series.is_none() {
            order.push(format!("coalesce(series_records.number, {LAST})"));
            order.push("series_records.series_uid".to_owned());
        }
        if search.level == Level::Instance {
            order.push(format!("coalesce(instances.number, {LAST})"));
            order.push("instances.sop_uid".to_owned());
        }
        if order.is_empty() {
            order.push("study_records.study_uid".to_owned());
        }
        self.text += " ORDER BY ";
        self.text += &order.join(", ");
    }

    /// The place of a text that is bound.
    pub(super) fn text(&mut self, text: &str) -> String {
        self.bind(Bound::Text(text.to_owned()))
    }

    /// The place of a number that is bound.
    pub(super) fn number(&mut self, number: i64) -> String {
        self.bind(Bound::Number(number))
    }

    fn bind(&mut self, bound: Bound) -> String {
        self.bound.push(bound);
        format!("${}", self.bound.len())
    }

    /// The whole.
    pub(super) fn statement(self) -> Statement {
        // of what a caller says, nothing is in the text but tags as hexadecimal digits
        let statement = sqlx::query(AssertSqlSafe(self.text));
        self.bound
            .into_iter()
            .fold(statement, |statement, bound| match bound {
                Bound::Text(text) => statement.bind(text),
                Bound::Number(number) => statement.bind(number),
            })
    }

    /// How the engine would find it.
    #[cfg(test)]
    pub(super) fn explained(mut self) -> Statement {
        self.text.insert_str(0, "EXPLAIN QUERY PLAN ");
        self.statement()
    }
}
