-- status: pending -> confirmed -> cancelled, or pending -> cancelled
CREATE TABLE orders (
  seq       INTEGER PRIMARY KEY AUTOINCREMENT,
  id        TEXT NOT NULL UNIQUE,
  user_id   TEXT NOT NULL,
  status    TEXT NOT NULL CHECK (status IN ('pending', 'confirmed', 'cancelled')),
  reason    TEXT,
  total     INTEGER NOT NULL,
  cancel_by TEXT              -- by_customer or by_admin, once somebody asked; a promise that the order ends cancelled
) STRICT;
CREATE INDEX orders_user ON orders (user_id, seq);

CREATE TABLE item (
  order_id   TEXT NOT NULL,
  line       INTEGER NOT NULL,
  product_id TEXT NOT NULL,
  sku        TEXT NOT NULL,
  name       TEXT NOT NULL,
  quantity   INTEGER NOT NULL,
  price      INTEGER NOT NULL,
  PRIMARY KEY (order_id, line)
) STRICT, WITHOUT ROWID;

CREATE TABLE history (
  order_id TEXT NOT NULL,
  idx      INTEGER NOT NULL,  -- from 0
  status   TEXT NOT NULL,
  reason   TEXT,
  at       TEXT NOT NULL,
  PRIMARY KEY (order_id, idx)
) STRICT, WITHOUT ROWID;
