-- Who may call besides the administrators, and what was done.

CREATE TABLE application (
  name TEXT PRIMARY KEY,
  description TEXT NOT NULL,
  grants TEXT NOT NULL,            -- JSON
  created_at REAL NOT NULL,
  updated_at REAL NOT NULL
);

CREATE TABLE access_key (
  id TEXT PRIMARY KEY,
  application TEXT NOT NULL,
  description TEXT NOT NULL,
  salt BLOB NOT NULL,
  digest BLOB NOT NULL,            -- of salt and secret; the secret is not kept
  created_at REAL NOT NULL,
  expires_at REAL,                 -- NULL: never
  last_used_at REAL                -- to the hour; NULL: not yet
);
CREATE INDEX access_key_by_application ON access_key (application);

-- The id orders, counts and pages without an index.
CREATE TABLE audit (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  at REAL NOT NULL,
  principal TEXT NOT NULL,
  action TEXT NOT NULL,
  target TEXT NOT NULL,
  outcome TEXT NOT NULL,
  reason TEXT NOT NULL
);
