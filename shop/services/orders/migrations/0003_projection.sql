-- The table is a projection now (orders.c): made of the streams before the first request, with the same numbers (seq) in the same order.
-- ficus:nolint drop-table: what a release before this one would write to it, nobody would read; it has to fail instead
DROP TABLE orders;
