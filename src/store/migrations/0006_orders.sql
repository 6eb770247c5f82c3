-- Orders: studies that are fetched from a peer, as jobs of the same queue, and workitems of the Unified Procedure Step.
-- One text for SQLite and PostgreSQL; times are milliseconds since 1970 in UTC, from the database's clock.

CREATE TABLE jobs_0006 (
    -- made from what the job is about, so that the same work is never queued twice
    job_id       TEXT   NOT NULL PRIMARY KEY,
    kind         TEXT   NOT NULL CHECK (kind IN ('analyse', 'deliver', 'fetch')),
    -- of a fetch the study may have no instance yet
    study_uid    TEXT   NOT NULL,
    generation   BIGINT NOT NULL,
    -- of a delivery: what goes where
    result_key   TEXT,
    destination  TEXT,
    -- of a fetch: where the study comes from
    peer         TEXT,
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

INSERT INTO jobs_0006 (job_id, kind, study_uid, generation, result_key, destination, state, attempts, answered, token, available_at, queued_at,
                       settled_at, cause)
SELECT job_id, kind, study_uid, generation, result_key, destination, state, attempts, answered, token, available_at, queued_at, settled_at, cause
FROM jobs;

DROP TABLE jobs;
ALTER TABLE jobs_0006 RENAME TO jobs;

-- each peer has a queue of its own: finding what waits for one must not cost more where much waits for another
CREATE INDEX jobs_claimable ON jobs (kind, coalesce(destination, peer, ''), available_at) WHERE state IN ('ready', 'running');
CREATE INDEX jobs_dead ON jobs (settled_at) WHERE state = 'dead';
CREATE INDEX jobs_of_study ON jobs (study_uid);

-- how many fetches of the study wait or run: until they have ended it is not complete
ALTER TABLE studies ADD COLUMN fetches BIGINT NOT NULL DEFAULT 0;
DROP INDEX studies_due;
-- a study that was ordered and of which nothing has come has generation 0
CREATE INDEX studies_due ON studies (due_at) WHERE state = 'received' AND fetches = 0 AND generation > 0;

CREATE TABLE workitems (
    workitem_uid    TEXT   NOT NULL PRIMARY KEY,
    state           TEXT   NOT NULL CHECK (state IN ('SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED')),
    -- counts what happened to it
    version         BIGINT NOT NULL,
    -- of its performer
    transaction_uid TEXT,
    performed_here  BIGINT NOT NULL,
    -- the study whose score it orders of this server; null where the work is another's
    study_uid       TEXT REFERENCES studies (study_uid),
    urgent          BIGINT NOT NULL,
    -- the peer that the study is fetched from
    peer            TEXT,
    -- DICOM JSON, without the Transaction UID
    attributes      TEXT   NOT NULL,
    created_at      BIGINT NOT NULL
);

-- asked at every arrival of an instance
CREATE INDEX workitems_open ON workitems (study_uid) WHERE state IN ('SCHEDULED', 'IN PROGRESS');
CREATE INDEX workitems_newest ON workitems (created_at, workitem_uid);
CREATE INDEX workitems_by_state ON workitems (state, created_at, workitem_uid);

-- the instances that a workitem lists: its study is complete when they are there
CREATE TABLE workitem_inputs (
    workitem_uid TEXT NOT NULL REFERENCES workitems (workitem_uid),
    sop_uid      TEXT NOT NULL,
    PRIMARY KEY (workitem_uid, sop_uid)
);

CREATE TABLE workitem_subscriptions (
    ae_title TEXT NOT NULL,
    -- a workitem, or the well-known UID of all or of all that match the filter
    target   TEXT NOT NULL,
    filter   TEXT,
    PRIMARY KEY (ae_title, target)
);

CREATE INDEX workitem_subscriptions_of ON workitem_subscriptions (target);

-- what subscribers hear, whichever server they are connected to
CREATE TABLE workitem_reports (
    ae_title     TEXT   NOT NULL,
    workitem_uid TEXT   NOT NULL,
    version      BIGINT NOT NULL,
    at           BIGINT NOT NULL,
    -- DICOM JSON
    report       TEXT   NOT NULL,
    PRIMARY KEY (ae_title, workitem_uid, version)
);

CREATE INDEX workitem_reports_of ON workitem_reports (ae_title, at);
CREATE INDEX workitem_reports_old ON workitem_reports (at);
