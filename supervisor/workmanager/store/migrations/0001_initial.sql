-- The first schema. Times are unix seconds (REAL); JSON is text; digests are hex.

PRAGMA application_id = 0x574B4D47; -- "WKMG": tells our file from any other SQLite file

CREATE TABLE meta (
  key TEXT PRIMARY KEY,
  value TEXT NOT NULL
) WITHOUT ROWID;

-- Hot: written by every commit. One row for all events of a commit, gone when all are settled.
CREATE TABLE segment (
  id INTEGER PRIMARY KEY,
  accepted_at REAL NOT NULL,
  body BLOB NOT NULL               -- msgpack [[topic, [worker no, ...], wire], ...]
);

-- Beside segment, not in it: settling rewrites these few bytes and leaves the events alone.
CREATE TABLE progress (
  segment_id INTEGER PRIMARY KEY,
  done BLOB NOT NULL               -- one byte per delivery: 0 open, 1 settled
);

-- One row for all tasks settled in one transaction. The id is the number of tasks ever recorded,
-- this row's included: it orders, counts and pages without an index.
CREATE TABLE history (
  id INTEGER PRIMARY KEY,
  ended_at REAL NOT NULL,          -- of the newest task in the row
  first_task INTEGER NOT NULL,
  last_task INTEGER NOT NULL,
  worker_no INTEGER,               -- NULL: tasks of more than one worker
  body BLOB NOT NULL               -- msgpack, by column: commit.pack_history
);

-- The id counts keys ever recorded, like history's.
CREATE TABLE dedupe (
  id INTEGER PRIMARY KEY,
  accepted_at REAL NOT NULL,
  body BLOB NOT NULL               -- msgpack [[worker no, 16-byte keys], ...]
);

-- Cold: rows of their own.
CREATE TABLE retry_state (
  task_number INTEGER PRIMARY KEY,
  worker_no INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  due_at REAL NOT NULL,
  error_type TEXT NOT NULL,
  error_message TEXT NOT NULL,
  error_traceback TEXT NOT NULL,
  fence INTEGER,                   -- NULL: no lease was held
  target_version TEXT NOT NULL     -- '': the current one
);
CREATE INDEX retry_state_by_worker ON retry_state (worker_no);

CREATE TABLE worker (
  no INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: open deliveries and history name it
  uid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL UNIQUE,
  spec TEXT NOT NULL,              -- JSON
  desired_state TEXT NOT NULL,
  generation INTEGER NOT NULL,
  etag TEXT NOT NULL,
  labels TEXT NOT NULL,            -- JSON
  annotations TEXT NOT NULL,       -- JSON
  current_version TEXT NOT NULL,   -- '': none yet
  dead_letter_retention_s REAL NOT NULL,
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL,
  deleted_at REAL                  -- not NULL: its deletion was asked for and is not finished
);

CREATE TABLE version (
  worker_no INTEGER NOT NULL,
  id TEXT NOT NULL,                -- the first digits of the digest, unique in its worker
  digest TEXT NOT NULL,
  code_digest TEXT NOT NULL,
  engine TEXT NOT NULL,
  handler TEXT NOT NULL,
  spec TEXT NOT NULL,              -- JSON
  state TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  message TEXT NOT NULL,
  created_at REAL NOT NULL,
  PRIMARY KEY (worker_no, id)
);
CREATE INDEX version_by_code ON version (code_digest);

CREATE TABLE code (
  digest TEXT PRIMARY KEY,
  body BLOB NOT NULL
);

CREATE TABLE dead_letter (
  id TEXT PRIMARY KEY,
  worker_no INTEGER NOT NULL,
  task_number INTEGER NOT NULL,
  topic TEXT NOT NULL,
  reason TEXT NOT NULL,
  error_type TEXT NOT NULL,
  error_message TEXT NOT NULL,
  error_traceback TEXT NOT NULL,
  attempts INTEGER NOT NULL,
  crashes INTEGER NOT NULL,
  version TEXT NOT NULL,
  accepted_at REAL NOT NULL,
  failed_at REAL NOT NULL,
  event_id TEXT NOT NULL,
  event_type TEXT NOT NULL,
  event_source TEXT NOT NULL,
  wire BLOB NOT NULL
);
CREATE INDEX dead_letter_by_worker ON dead_letter (worker_no, failed_at, id);
CREATE INDEX dead_letter_by_time ON dead_letter (failed_at, id);

CREATE TABLE fence (
  name TEXT PRIMARY KEY,           -- the group, with its key where it has one
  value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE operation (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  target TEXT NOT NULL,
  done INTEGER NOT NULL,
  created_at REAL NOT NULL,
  ended_at REAL,                   -- NULL: still running
  progress TEXT NOT NULL,
  request TEXT NOT NULL,           -- JSON: what is needed to go on after a restart
  result TEXT,                     -- JSON
  error TEXT                       -- JSON
);
CREATE INDEX operation_by_time ON operation (created_at, id);

CREATE TABLE idempotency (
  key TEXT PRIMARY KEY,
  body_digest TEXT NOT NULL,
  status INTEGER NOT NULL,
  response BLOB NOT NULL,
  created_at REAL NOT NULL
);
CREATE INDEX idempotency_by_time ON idempotency (created_at);

-- What could not be read at a start: kept for a human, never dropped.
CREATE TABLE quarantine (
  id INTEGER PRIMARY KEY,
  segment_id INTEGER NOT NULL,
  accepted_at REAL NOT NULL,
  body BLOB NOT NULL,
  done BLOB,                       -- NULL: there was no progress
  reason TEXT NOT NULL,
  quarantined_at REAL NOT NULL
);
