CREATE TABLE stock (
  sku      TEXT PRIMARY KEY,
  on_hand  INTEGER NOT NULL CHECK (on_hand >= reserved),
  reserved INTEGER NOT NULL DEFAULT 0 CHECK (reserved >= 0)
) STRICT, WITHOUT ROWID;

-- state: reserved -> taken -> returned, or reserved -> released
CREATE TABLE reservation (
  order_id TEXT PRIMARY KEY,
  state    TEXT NOT NULL CHECK (state IN ('reserved', 'taken', 'released', 'returned')),
  at       TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE reservation_item (
  order_id TEXT NOT NULL,
  sku      TEXT NOT NULL,
  quantity INTEGER NOT NULL CHECK (quantity > 0),
  PRIMARY KEY (order_id, sku)
) STRICT, WITHOUT ROWID;

CREATE TABLE movement (
  seq      INTEGER PRIMARY KEY AUTOINCREMENT,
  id       TEXT NOT NULL,
  order_id TEXT NOT NULL,
  sku      TEXT NOT NULL,
  quantity INTEGER NOT NULL,
  kind     TEXT NOT NULL,
  at       TEXT NOT NULL
) STRICT;
CREATE INDEX movement_order ON movement (order_id, seq);
CREATE INDEX movement_sku ON movement (sku, seq);
