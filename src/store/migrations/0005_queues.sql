-- Each destination has a queue of its own: finding what waits for one must not cost more where much waits for another.
DROP INDEX jobs_claimable;
CREATE INDEX jobs_claimable ON jobs (kind, coalesce(destination, ''), available_at) WHERE state IN ('ready', 'running');
