CREATE TABLE notification (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  id       TEXT NOT NULL UNIQUE,
  user_id  TEXT NOT NULL,
  order_id TEXT NOT NULL,
  kind     TEXT NOT NULL,
  text     TEXT NOT NULL,
  at       TEXT NOT NULL,
  read     INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX notification_user ON notification (user_id, seq);
