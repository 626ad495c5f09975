CREATE TABLE user (
  id       TEXT PRIMARY KEY,
  email    TEXT NOT NULL UNIQUE,   -- lower case
  name     TEXT NOT NULL,
  password TEXT NOT NULL,          -- scrypt$N$r$p$salt$hash, hex
  role     TEXT NOT NULL,          -- "" or "admin"
  at       TEXT NOT NULL
) STRICT, WITHOUT ROWID;
