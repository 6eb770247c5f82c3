//! Workitems that a search is about.
//!
//! Invariant: what an index knows narrows a search down and decides nothing: every workitem that is given was looked at.

use sqlx::Row;

use super::super::database::sql;
use super::super::{Store, StoreError};
use super::{BATCH, Held, MOST_FOUND};
use crate::workitem::{Lookup, Page, Query, Workitem};

impl Store {
    /// The workitems that match, the newest first, and whether there are more than the page, or [`MOST_FOUND`] bytes, have room for.
    pub async fn find_workitems(
        &self,
        query: &Query,
        page: &Page,
    ) -> Result<(Vec<Workitem>, bool), StoreError> {
        let (select, value) = match query.lookup() {
            Some(Lookup::Patient(id)) => (
                sql!(
                    "SELECT * FROM workitems WHERE (created_at, workitem_uid) < ($1, $2) AND (patient_id = $3 OR patient_id IS NULL) \
                     ORDER BY created_at DESC, workitem_uid DESC LIMIT $4"
                ),
                Some(id),
            ),
            // one that is another's work may name several
            Some(Lookup::Study(uid)) => (
                sql!(
                    "SELECT * FROM workitems WHERE (created_at, workitem_uid) < ($1, $2) AND (study_uid = $3 OR study_uid IS NULL) \
                     ORDER BY created_at DESC, workitem_uid DESC LIMIT $4"
                ),
                Some(uid),
            ),
            Some(Lookup::State(state)) => (
                sql!(
                    "SELECT * FROM workitems WHERE (created_at, workitem_uid) < ($1, $2) AND state = $3 \
                     ORDER BY created_at DESC, workitem_uid DESC LIMIT $4"
                ),
                Some(state),
            ),
            None => (
                sql!(
                    "SELECT * FROM workitems WHERE (created_at, workitem_uid) < ($1, $2) AND CAST($3 AS TEXT) IS NULL \
                     ORDER BY created_at DESC, workitem_uid DESC LIMIT $4"
                ),
                None,
            ),
        };
        let (mut found, mut passed, mut bytes) = (Vec::new(), 0, 0);
        let mut last = (i64::MAX, String::new());
        loop {
            let rows = self
                .database
                .query(select)
                .bind(last.0)
                .bind(last.1.clone())
                .bind(value.map(str::to_owned))
                .bind(BATCH)
                .fetch_all(self.database.read())
                .await?;
            for row in &rows {
                last = (row.try_get("created_at")?, row.try_get("workitem_uid")?);
                let length = row.try_get::<&str, _>("attributes")?.len();
                let workitem = Held::read(row)?.workitem;
                if !query.matches(&workitem.attributes) {
                    continue;
                }
                if passed < page.offset {
                    passed += 1;
                } else if found.len() == page.limit || (bytes > 0 && bytes + length > MOST_FOUND) {
                    return Ok((found, true));
                } else {
                    bytes += length;
                    found.push(workitem);
                }
            }
            if rows.len() < BATCH as usize {
                return Ok((found, false));
            }
        }
    }
}
