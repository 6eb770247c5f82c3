-- What is urgent goes first in every queue, also after it was put back; a fetch says since when it has looked; and the retention policy
-- walks through what is kept.
-- One text for SQLite and PostgreSQL; times are milliseconds since 1970 in UTC, from the database's clock.

-- whether its study goes before others
ALTER TABLE jobs ADD COLUMN urgent BIGINT NOT NULL DEFAULT 0;
-- when it was claimed last
ALTER TABLE jobs ADD COLUMN claimed_at BIGINT;

UPDATE jobs SET urgent = 1 WHERE state IN ('ready', 'running')
    AND (EXISTS (SELECT 1 FROM instances WHERE instances.study_uid = jobs.study_uid AND instances.urgent = 1)
         OR EXISTS (SELECT 1 FROM workitems WHERE workitems.study_uid = jobs.study_uid AND workitems.urgent = 1
                    AND workitems.state IN ('SCHEDULED', 'IN PROGRESS')));

DROP INDEX jobs_claimable;
CREATE INDEX jobs_claimable ON jobs (kind, coalesce(destination, peer, ''), urgent, available_at) WHERE state IN ('ready', 'running');

DROP INDEX instances_kept;
CREATE INDEX instances_kept ON instances (received_at, sop_uid) WHERE removed_at IS NULL AND made_for IS NULL;
