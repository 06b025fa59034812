-- Pretrained encoders by name. Two names may have the same contents, and so the same objects.
CREATE TABLE encoders (
    name TEXT NOT NULL PRIMARY KEY,
    digest TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    info TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX encoders_by_digest ON encoders (digest);
