-- Studies, their instances, and the jobs that analyse them.
-- Times are milliseconds since 1970 in UTC, from the database's clock.

CREATE TABLE studies (
    study_uid       TEXT   NOT NULL PRIMARY KEY,
    state           TEXT   NOT NULL CHECK (state IN ('received', 'analysing', 'scored', 'refused', 'failed')),
    received_at     BIGINT NOT NULL,
    last_arrival_at BIGINT NOT NULL,
    analysed_at     BIGINT,
    -- counts changes of the study's content; a result belongs to one generation
    generation      BIGINT NOT NULL,
    -- JSON; where it is not null it covers every instance that the study has
    result          TEXT
);

-- finding what waits must not cost more as studies accumulate
CREATE INDEX studies_waiting ON studies (last_arrival_at) WHERE state = 'received';
CREATE INDEX studies_newest ON studies (received_at);

CREATE TABLE instances (
    sop_uid         TEXT   NOT NULL PRIMARY KEY,
    study_uid       TEXT   NOT NULL REFERENCES studies (study_uid),
    series_uid      TEXT   NOT NULL,
    sop_class       TEXT   NOT NULL,
    transfer_syntax TEXT   NOT NULL,
    object_sha256   TEXT   NOT NULL,
    bytes           BIGINT NOT NULL,
    received_at     BIGINT NOT NULL
);

CREATE INDEX instances_of_study ON instances (study_uid, series_uid, sop_uid);

CREATE TABLE jobs (
    study_uid    TEXT   NOT NULL REFERENCES studies (study_uid),
    generation   BIGINT NOT NULL,
    state        TEXT   NOT NULL CHECK (state IN ('ready', 'running', 'done', 'dead')),
    -- counted when a job is claimed, so that a worker that dies without a word has spent one, too
    attempts     BIGINT NOT NULL,
    -- the fencing token: changes at every claim, and when a later generation supersedes the job
    token        BIGINT NOT NULL,
    -- ready: may be claimed from then on; running: the end of the lease
    available_at BIGINT NOT NULL,
    settled_at   BIGINT,
    -- why it was put back, superseded or given up
    cause        TEXT,
    PRIMARY KEY (study_uid, generation)
);

CREATE INDEX jobs_claimable ON jobs (available_at) WHERE state IN ('ready', 'running');
