// SPDX-License-Identifier: Apache-2.0
// One try to buy something: its Idempotency-Key and its items, kept in this tab until the shop has answered. A retry, a
// second click, or a reload after a lost answer uses the same key, so nobody pays twice. The card number is never kept.

import * as session from './session.js';

const KEY = 'ficus.attempt';

function random() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** {key, items, lines, user, open}, or null. items: as they are sent; lines: the same as they are shown; open: sent, and nobody knows yet what became of it. */
export function current() {
  try {
    const a = JSON.parse(sessionStorage.getItem(KEY));
    return a && a.user === session.user() && Array.isArray(a.items) && a.key ? a : null;
  } catch { return null; }
}

function keep(a) {
  try { sessionStorage.setItem(KEY, JSON.stringify(a)); } catch { /* the page's own variable remains */ }
  return a;
}

/** The attempt to buy these lines of a cart. One that is open goes first, whatever the cart holds now. */
export function begin(lines) {
  const items = lines.map(({ product_id, quantity }) => ({ product_id, quantity }));
  const there = current();
  if (there && (there.open || same(there.items, items))) return there;
  return keep({ key: random(), items, lines, user: session.user(), open: false });
}

export const sent = (a) => keep({ ...a, open: true });
/** The shop said that nothing was stored: the key may go with a corrected request. */
export const refused = (a) => keep({ ...a, open: false });

export function forget() {
  try { sessionStorage.removeItem(KEY); } catch { /* nothing was kept */ }
}
