//! Workitems that have ended long ago, and what belongs to them.

use std::time::Duration;

use sqlx::Row;

use super::super::database::{Write, millis, sql};
use super::super::{Store, StoreError};
use super::BATCH;

impl Store {
    /// Deletes the workitems that ended longer than `age` ago, with their subscriptions; results and events of their studies stay. Gives
    /// their number.
    pub async fn forget_workitems(&self, age: Duration) -> Result<usize, StoreError> {
        let mut forgotten = 0;
        loop {
            let mut write = self.database.write().await?;
            let ended = write
                .query(sql!(
                    "SELECT workitem_uid FROM workitems WHERE ended_at IS NOT NULL AND ended_at <= " now " - $1 \
                     ORDER BY ended_at LIMIT $2" skip_locked
                ))
                .bind(millis(age))
                .bind(BATCH)
                .fetch_all(write.connection()?)
                .await?;
            for row in &ended {
                forget(&mut write, row.try_get(0)?).await?;
            }
            write.commit().await?;
            if ended.is_empty() {
                return Ok(forgotten);
            }
            forgotten += ended.len();
        }
    }
}

async fn forget(write: &mut Write, workitem: &str) -> Result<(), StoreError> {
    // reports go by their own age
    for delete in [
        sql!("DELETE FROM workitem_subscriptions WHERE target = $1"),
        sql!("DELETE FROM workitem_inputs WHERE workitem_uid = $1"),
        sql!("DELETE FROM workitems WHERE workitem_uid = $1"),
    ] {
        write
            .query(delete)
            .bind(workitem.to_owned())
            .execute(write.connection()?)
            .await?;
    }
    Ok(())
}
