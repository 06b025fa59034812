-- How often the process that ran a job was ended from outside.
ALTER TABLE jobs ADD COLUMN kills BIGINT NOT NULL DEFAULT 0;
