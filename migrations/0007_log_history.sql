-- Rows stay in the log after a snapshot, so that some can be withdrawn and the state computed again without them.
-- Who sent the rows of a record: the id of the key.
ALTER TABLE observations ADD COLUMN key_id TEXT;
-- States at numbers of the log, from which the records after them can be applied again. One without an object is the
-- beginning of a stream.
CREATE TABLE log_checkpoints (
    model_id TEXT NOT NULL REFERENCES logs (model_id) ON DELETE CASCADE,
    seq BIGINT NOT NULL,
    object_key TEXT NOT NULL,
    info TEXT NOT NULL,
    PRIMARY KEY (model_id, seq)
);
