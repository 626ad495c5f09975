CREATE TABLE payment (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  id       TEXT NOT NULL,
  order_id TEXT NOT NULL UNIQUE,
  amount   INTEGER NOT NULL,
  status   TEXT NOT NULL CHECK (status IN ('captured', 'refunded', 'declined')),
  at       TEXT NOT NULL
) STRICT;
