-- What runs and what waits is asked for every few seconds by whoever looks, among thousands that have ended.
CREATE INDEX jobs_status ON jobs (status, id);
