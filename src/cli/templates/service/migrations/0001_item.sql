CREATE TABLE item (
  id         TEXT PRIMARY KEY,
  text       TEXT NOT NULL,
  changed_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;
