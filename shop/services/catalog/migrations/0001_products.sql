CREATE TABLE product (
  seq   INTEGER PRIMARY KEY AUTOINCREMENT,
  id    TEXT NOT NULL UNIQUE,
  sku   TEXT NOT NULL UNIQUE,
  name  TEXT NOT NULL,
  price INTEGER NOT NULL CHECK (price >= 0)
) STRICT;

-- What inventory last said can be bought; a replica kept by events, so it may lag.
CREATE TABLE stock (
  sku       TEXT PRIMARY KEY,
  available INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
