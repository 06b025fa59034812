-- One text for SQLite and Postgres: TEXT, BIGINT (times are epoch milliseconds), DOUBLE PRECISION,
-- BOOLEAN, BYTEA. JSON is TEXT. Ids are UUIDs of version 7 or a sequence per parent.

CREATE TABLE datasets (
    name TEXT NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    digest TEXT NOT NULL,
    columns TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE dataset_parts (
    dataset TEXT NOT NULL REFERENCES datasets (name) ON DELETE CASCADE,
    position BIGINT NOT NULL,
    object_key TEXT NOT NULL,
    format TEXT NOT NULL,
    compression TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (dataset, position)
);

-- Objects that nothing names any more; deleted once no unfinished job reads them.
CREATE TABLE garbage (
    object_key TEXT NOT NULL PRIMARY KEY,
    since BIGINT NOT NULL
);

CREATE TABLE models (
    name TEXT NOT NULL PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    family TEXT,
    task TEXT,
    target TEXT NOT NULL,
    info TEXT NOT NULL,
    next_version BIGINT NOT NULL,
    stable BIGINT,
    canary BIGINT,
    canary_weight DOUBLE PRECISION,
    shadow BIGINT,
    history TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE versions (
    model_id TEXT NOT NULL REFERENCES models (id) ON DELETE CASCADE,
    version BIGINT NOT NULL,
    family TEXT NOT NULL,
    metrics TEXT NOT NULL,
    info TEXT NOT NULL,
    files TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    job_id TEXT,
    served_at BIGINT,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (model_id, version)
);

-- Heads of the observation logs. A head's row is locked while records are appended, so records
-- become visible in the order of their numbers.
CREATE TABLE logs (
    model_id TEXT NOT NULL PRIMARY KEY REFERENCES models (id) ON DELETE CASCADE,
    next_seq BIGINT NOT NULL,
    snapshot_seq BIGINT,
    snapshot_key TEXT,
    snapshot_info TEXT
);

CREATE TABLE observations (
    model_id TEXT NOT NULL REFERENCES logs (model_id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    row_count BIGINT NOT NULL,
    kind TEXT NOT NULL,
    payload BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (model_id, seq)
);

CREATE TABLE observation_keys (
    model_id TEXT NOT NULL REFERENCES logs (model_id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (model_id, key)
);
CREATE INDEX observation_keys_age ON observation_keys (created_at);

CREATE TABLE jobs (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    model_id TEXT NOT NULL,
    version BIGINT,
    dataset TEXT,
    spec TEXT NOT NULL,
    input TEXT,
    status TEXT NOT NULL CHECK (status IN ('queued', 'running', 'succeeded', 'failed', 'canceled')),
    -- Whether no other such job of the model may run beside it.
    exclusive BOOLEAN NOT NULL,
    priority BIGINT NOT NULL,
    progress TEXT NOT NULL,
    metrics TEXT NOT NULL,
    result TEXT,
    error TEXT,
    attempt BIGINT NOT NULL,
    -- Tenths of an attempt without progress since the last checkpoint; 30 end the job.
    strikes BIGINT NOT NULL,
    resumed_from_step BIGINT NOT NULL,
    checkpoint_key TEXT,
    checkpoint_step BIGINT NOT NULL,
    owner TEXT,
    lease_until BIGINT,
    heartbeats BIGINT NOT NULL,
    cancel_requested BOOLEAN NOT NULL,
    event_seq BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT
);
CREATE INDEX jobs_queue ON jobs (priority DESC, created_at, id) WHERE status = 'queued';
-- Two claimers cannot start two trainings of one model: the second violates this.
CREATE UNIQUE INDEX jobs_running ON jobs (model) WHERE status = 'running' AND exclusive;
CREATE INDEX jobs_leases ON jobs (lease_until) WHERE status = 'running';
CREATE INDEX jobs_model ON jobs (model, id);
CREATE INDEX jobs_finished ON jobs (finished_at) WHERE finished_at IS NOT NULL;

-- Objects a job reads; they outlive their dataset until the job has finished.
CREATE TABLE job_inputs (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    object_key TEXT NOT NULL,
    PRIMARY KEY (job_id, object_key)
);
CREATE INDEX job_inputs_key ON job_inputs (object_key);

CREATE TABLE job_events (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    kind TEXT NOT NULL,
    data TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (job_id, seq)
);

CREATE TABLE api_keys (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    hash TEXT NOT NULL UNIQUE,
    scopes TEXT NOT NULL,
    models TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);

CREATE TABLE idempotency (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    body_hash TEXT NOT NULL,
    -- None while the first request is still in flight.
    status BIGINT,
    body BYTEA,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_age ON idempotency (created_at);
