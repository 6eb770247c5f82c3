-- Results of their own with what they were made from, one queue for analyses and deliveries, every event of a study, and
-- what lets a study be complete before it has been quiet.
-- One text for SQLite and PostgreSQL; times are milliseconds since 1970 in UTC, from the database's clock.

CREATE TABLE results (
    -- SHA-256 of study, model digest and input digest: the same case has the same key wherever and however often it is analysed
    result_key    TEXT   NOT NULL PRIMARY KEY,
    study_uid     TEXT   NOT NULL REFERENCES studies (study_uid),
    generation    BIGINT NOT NULL,
    outcome       TEXT   NOT NULL CHECK (outcome IN ('scored', 'refused', 'failed')),
    model_name    TEXT,
    model_version BIGINT,
    model_digest  TEXT,
    input_digest  TEXT   NOT NULL,
    -- JSON: how complete the study was
    completeness  TEXT   NOT NULL,
    -- JSON: the result
    body          TEXT   NOT NULL,
    -- the result of the same study that this one takes the place of
    supersedes    TEXT,
    made_at       BIGINT NOT NULL
);

CREATE INDEX results_of_study ON results (study_uid, made_at);

-- which bytes a result was made from, so that it can be repeated
CREATE TABLE result_inputs (
    result_key    TEXT NOT NULL REFERENCES results (result_key),
    sop_uid       TEXT NOT NULL,
    object_sha256 TEXT NOT NULL,
    PRIMARY KEY (result_key, sop_uid)
);

-- the sweeper asks whether anyone needs an object
CREATE INDEX result_inputs_object ON result_inputs (object_sha256);
CREATE INDEX instances_object ON instances (object_sha256);

INSERT INTO results (result_key, study_uid, generation, outcome, input_digest, completeness, body, made_at)
SELECT 'before-0003:' || study_uid, study_uid, generation, state, '', '{"basis":"quiet","instances":0}', result, analysed_at
FROM studies WHERE result IS NOT NULL;

-- the result that covers all instances that the study has
ALTER TABLE studies ADD COLUMN result_key TEXT;
-- the last result that there was, also where it no longer covers everything
ALTER TABLE studies ADD COLUMN latest_key TEXT;
-- how many instances someone said that the study has
ALTER TABLE studies ADD COLUMN expected BIGINT;
-- whether someone asked for its result now
ALTER TABLE studies ADD COLUMN ordered BIGINT NOT NULL DEFAULT 0;
-- when it counts as complete, while it is received
ALTER TABLE studies ADD COLUMN due_at BIGINT NOT NULL DEFAULT 0;
-- JSON: how complete it was when its analysis was queued
ALTER TABLE studies ADD COLUMN completeness TEXT;

UPDATE studies SET result_key = 'before-0003:' || study_uid, latest_key = 'before-0003:' || study_uid WHERE result IS NOT NULL;
UPDATE studies SET due_at = last_arrival_at;

ALTER TABLE studies DROP COLUMN result;
ALTER TABLE studies DROP COLUMN analysed_at;

DROP INDEX studies_waiting;
CREATE INDEX studies_due ON studies (due_at) WHERE state = 'received';
-- when its images were removed by the retention policy
ALTER TABLE studies ADD COLUMN images_removed_at BIGINT;
ALTER TABLE instances ADD COLUMN removed_at BIGINT;
CREATE INDEX instances_kept ON instances (received_at) WHERE removed_at IS NULL;

CREATE TABLE jobs_0003 (
    -- made from what the job is about, so that the same work is never queued twice
    job_id       TEXT   NOT NULL PRIMARY KEY,
    kind         TEXT   NOT NULL CHECK (kind IN ('analyse', 'deliver')),
    study_uid    TEXT   NOT NULL,
    generation   BIGINT NOT NULL,
    -- of a delivery: what goes where
    result_key   TEXT,
    destination  TEXT,
    state        TEXT   NOT NULL CHECK (state IN ('ready', 'running', 'done', 'dead')),
    -- counted when a job is claimed, so that a worker that dies without a word has spent one, too
    attempts     BIGINT NOT NULL,
    -- how many of them ended with a word
    answered     BIGINT NOT NULL,
    -- the fencing token: changes at every claim, and when a later generation supersedes the job
    token        BIGINT NOT NULL,
    -- ready: may be claimed from then on; running: the end of the lease
    available_at BIGINT NOT NULL,
    queued_at    BIGINT NOT NULL,
    settled_at   BIGINT,
    -- why it was put back, superseded or given up
    cause        TEXT
);

INSERT INTO jobs_0003 (job_id, kind, study_uid, generation, state, attempts, answered, token, available_at, queued_at, settled_at, cause)
SELECT 'analyse/' || study_uid || '/' || generation, 'analyse', study_uid, generation, state, attempts, attempts, token, available_at,
       available_at, settled_at, cause
FROM jobs;

DROP TABLE jobs;
ALTER TABLE jobs_0003 RENAME TO jobs;

-- claiming must not cost more as studies accumulate
CREATE INDEX jobs_claimable ON jobs (kind, available_at) WHERE state IN ('ready', 'running');
CREATE INDEX jobs_dead ON jobs (settled_at) WHERE state = 'dead';
CREATE INDEX jobs_of_study ON jobs (study_uid);

CREATE TABLE events (
    study_uid  TEXT   NOT NULL,
    generation BIGINT NOT NULL,
    at         BIGINT NOT NULL,
    -- tells apart what one process did in the same millisecond
    seq        BIGINT NOT NULL,
    kind       TEXT   NOT NULL,
    -- JSON
    detail     TEXT   NOT NULL
);

CREATE INDEX events_of_study ON events (study_uid, at, seq);
