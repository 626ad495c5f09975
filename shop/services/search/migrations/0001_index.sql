CREATE TABLE product (
  seq   INTEGER PRIMARY KEY,
  id    TEXT NOT NULL,
  sku   TEXT NOT NULL UNIQUE,
  name  TEXT NOT NULL,
  price INTEGER NOT NULL
) STRICT;
CREATE INDEX product_sku ON product (sku COLLATE NOCASE);

-- Of its own, because what inventory says of a sku may come before catalog names it.
CREATE TABLE stock (
  sku       TEXT PRIMARY KEY,
  available INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- rowid: product.seq. `whole` is the name between U+E000 and U+E001, which count as words here: a phrase of all three is
-- the whole name, whatever its case, accents and punctuation.
CREATE VIRTUAL TABLE product_index USING fts5 (
  name, sku, whole,
  tokenize = 'unicode61 remove_diacritics 2', prefix = '1 2 3'
);
