-- What studies, series and instances are found by and described with, and which instances were made here.
-- One text for SQLite and PostgreSQL; a key that is absent is empty, so that rows are in one order on both.

-- the result that an object was made for; without one it was received. What is made here is no input of an analysis, counts for no
-- completeness, and stays when the images of its study are removed
ALTER TABLE instances ADD COLUMN made_for TEXT;
ALTER TABLE instances ADD COLUMN number BIGINT;
-- whether its header is kept; one from before there were any is described by and by
ALTER TABLE instances ADD COLUMN described BIGINT NOT NULL DEFAULT 0;
CREATE INDEX instances_undescribed ON instances (sop_uid) WHERE described = 0;

-- the instances of a study are counted at every arrival: the index says which were received
DROP INDEX instances_of_study;
CREATE INDEX instances_of_study ON instances (study_uid, series_uid, sop_uid, made_for);
-- the retention policy looks for images only
DROP INDEX instances_kept;
CREATE INDEX instances_kept ON instances (received_at) WHERE removed_at IS NULL AND made_for IS NULL;

-- headers as DICOM JSON without bulk data
CREATE TABLE headers (
    sop_uid TEXT   NOT NULL PRIMARY KEY REFERENCES instances (sop_uid),
    header  TEXT   NOT NULL,
    -- 0: it was too long, or could not be read; the object has the rest
    whole   BIGINT NOT NULL
);

-- what the last instance that arrived says of its study; beside `studies`, whose rows the queue changes at every step
CREATE TABLE study_records (
    study_uid           TEXT NOT NULL PRIMARY KEY REFERENCES studies (study_uid),
    patient_id          TEXT NOT NULL,
    patient_name        TEXT NOT NULL,
    patient_name_groups TEXT NOT NULL,
    study_date          TEXT NOT NULL,
    study_time          TEXT NOT NULL,
    accession_number    TEXT NOT NULL,
    referring_physician TEXT NOT NULL,
    study_id            TEXT NOT NULL,
    -- DICOM JSON
    attributes          TEXT NOT NULL
);

CREATE INDEX study_records_newest ON study_records (study_date, study_time, study_uid);
CREATE INDEX study_records_patient ON study_records (patient_id);
CREATE INDEX study_records_name ON study_records (patient_name);
CREATE INDEX study_records_accession ON study_records (accession_number);
CREATE INDEX study_records_physician ON study_records (referring_physician);
CREATE INDEX study_records_id ON study_records (study_id);

-- the same of its series
CREATE TABLE series_records (
    study_uid  TEXT   NOT NULL REFERENCES studies (study_uid),
    series_uid TEXT   NOT NULL,
    modality   TEXT   NOT NULL,
    number     BIGINT,
    start_date TEXT   NOT NULL,
    start_time TEXT   NOT NULL,
    -- DICOM JSON
    attributes TEXT   NOT NULL,
    PRIMARY KEY (study_uid, series_uid)
);

CREATE INDEX series_records_uid ON series_records (series_uid);
CREATE INDEX series_records_date ON series_records (start_date);
