/**
 * The ledger's schema as the steps that made it. A ledger records how many it has; new ones go to the end, and none is
 * changed once it has been released.
 */
export const migrations: readonly string[] = [
  `
  CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value ANY NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE jobs (
    -- The order of arrival. It does not depend on the clock.
    arrival INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL CHECK (kind IN ('generate', 'depth')),
    state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    priority INTEGER NOT NULL,
    starred INTEGER NOT NULL DEFAULT 0,
    -- Times are milliseconds since 1970.
    created_at INTEGER NOT NULL,
    started_at INTEGER,
    finished_at INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0,
    -- Crashes of the engine in a row without a new checkpoint.
    crashes INTEGER NOT NULL DEFAULT 0,
    step INTEGER NOT NULL DEFAULT 0,
    steps INTEGER,
    seed INTEGER,
    request TEXT NOT NULL,
    load TEXT NOT NULL,
    -- Equal for jobs that can share a loaded model.
    model TEXT NOT NULL,
    preview_every INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    warnings TEXT NOT NULL DEFAULT '[]',
    error TEXT,
    worker TEXT,
    search_text TEXT NOT NULL,
    idempotency_key TEXT UNIQUE,
    body_hash TEXT
  ) STRICT;
  CREATE INDEX jobs_by_state ON jobs (state, priority DESC, arrival);
  CREATE INDEX jobs_by_end ON jobs (finished_at) WHERE finished_at IS NOT NULL;

  CREATE TABLE attempts (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    attempt INTEGER NOT NULL,
    worker TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER,
    outcome TEXT CHECK (outcome IN ('succeeded', 'failed', 'cancelled', 'crashed', 'interrupted')),
    PRIMARY KEY (job_id, attempt)
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    -- Null for events about the queue and about jobs that are gone.
    job_id TEXT REFERENCES jobs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    data TEXT NOT NULL
  ) STRICT;
  CREATE INDEX events_by_job ON events (job_id, id);

  CREATE TABLE blobs (
    sha256 TEXT PRIMARY KEY,
    mime TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    -- When it was last uploaded, or released by the deletion of a job.
    touched_at INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  CREATE TABLE blob_uses (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    sha256 TEXT NOT NULL REFERENCES blobs (sha256),
    PRIMARY KEY (job_id, sha256)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX blob_uses_by_blob ON blob_uses (sha256);

  CREATE TABLE artifacts (
    job_id TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    sha256 TEXT NOT NULL,
    mime TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    seed INTEGER,
    PRIMARY KEY (job_id, name)
  ) STRICT, WITHOUT ROWID;
  CREATE INDEX artifacts_by_file ON artifacts (sha256);

  CREATE TABLE workers (
    id TEXT PRIMARY KEY,
    draining INTEGER NOT NULL DEFAULT 0,
    device TEXT NOT NULL,
    memory_bytes INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID;

  -- Measured times, for estimates: of a step, and of everything else in a job.
  CREATE TABLE durations (
    workload TEXT PRIMARY KEY,
    step_seconds REAL NOT NULL,
    other_seconds REAL NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  -- How faithfully an image keeps the depth map, as JSON; null for files without a score.
  ALTER TABLE artifacts ADD COLUMN score TEXT;
  `,
  `
  -- Requests of OpenAI's clients, whose repeats get the jobs of the first one.
  CREATE TABLE image_requests (
    -- A hash of the request.
    content TEXT PRIMARY KEY,
    -- The ids of the jobs, as JSON.
    jobs TEXT NOT NULL
  ) STRICT, WITHOUT ROWID;
  `,
  `
  CREATE INDEX jobs_by_model ON jobs (model) WHERE state = 'queued';
  `,
];
