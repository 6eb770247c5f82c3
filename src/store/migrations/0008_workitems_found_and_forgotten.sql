-- Workitems are found by their patient or study without reading them all, and end with the retention policy.

-- when it came to COMPLETED or CANCELED; of one from before this column, when it was created
ALTER TABLE workitems ADD COLUMN ended_at BIGINT;
UPDATE workitems SET ended_at = created_at WHERE state IN ('COMPLETED', 'CANCELED');
-- null where it names none, or several, and for one from before this column: such a workitem is read
ALTER TABLE workitems ADD COLUMN patient_id TEXT;

CREATE INDEX workitems_ended ON workitems (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX workitems_of_patient ON workitems (patient_id, created_at, workitem_uid);
CREATE INDEX workitems_of_study ON workitems (study_uid, created_at, workitem_uid);
