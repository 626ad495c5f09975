-- A token stands for a card; the number itself is never stored.
CREATE TABLE token (
  token     TEXT PRIMARY KEY,
  behaviour TEXT NOT NULL CHECK (behaviour IN ('good', 'declined', 'insufficient', 'flaky', 'slow')),
  last4     TEXT NOT NULL,
  at        TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What the bank knows of one order's money. state: trying -> captured -> refunded; a refund of what never came leaves "void".
CREATE TABLE charge (
  order_id TEXT PRIMARY KEY,
  state    TEXT NOT NULL CHECK (state IN ('trying', 'captured', 'refunded', 'void')),
  amount   INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

CREATE TABLE ledger (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  id       TEXT NOT NULL,
  order_id TEXT NOT NULL,
  kind     TEXT NOT NULL CHECK (kind IN ('capture', 'refund')),
  amount   INTEGER NOT NULL,
  at       TEXT NOT NULL,
  UNIQUE (order_id, kind)
) STRICT;
