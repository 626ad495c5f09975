-- A replica of the catalog's products: events in the order of the log, and what was asked before they came.
CREATE TABLE product (
  sku   TEXT NOT NULL PRIMARY KEY,
  id    TEXT NOT NULL,
  name  TEXT NOT NULL,
  price INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX product_id ON product (id);

CREATE TABLE cart (
  user_id TEXT NOT NULL PRIMARY KEY,
  put_ms  INTEGER NOT NULL  -- wall clock when its last PUT began; later orders empty it
) STRICT, WITHOUT ROWID;

CREATE TABLE item (
  user_id  TEXT NOT NULL,
  line     INTEGER NOT NULL,
  sku      TEXT NOT NULL,   -- always in product
  quantity INTEGER NOT NULL,
  PRIMARY KEY (user_id, line)
) STRICT, WITHOUT ROWID;
