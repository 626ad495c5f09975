// SPDX-License-Identifier: Apache-2.0
// The cart: the server's when signed in, else kept in this browser and merged into the server's on sign-in. Changes are
// made one after another, each on what is there then, and put whole.

import { ApiError, get, send } from './api.js';
import * as session from './session.js';

const LOCAL = 'ficus.cart', MERGE = 'ficus.merge', PATH = '/api/v1/cart';
const QUANTITY_MAX = 1000000, LINES_MAX = 1000;
export const changes = new EventTarget();
let count = 0;
let turn = Promise.resolve();

function stored(key) {
  try { return JSON.parse(localStorage.getItem(key)); } catch { return null; }
}

function store(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else localStorage.setItem(key, JSON.stringify(value));
  } catch { /* no room or no storage: the cart then lasts as long as the server's */ }
}

const local = () => {
  const lines = stored(LOCAL);
  return Array.isArray(lines) ? lines.filter((l) => typeof l?.product_id === 'string' && l.quantity > 0) : [];
};

const bare = (lines) => lines.map(({ product_id, quantity }) => ({ product_id, quantity }));
const clamp = (n) => Math.min(QUANTITY_MAX, Math.max(1, n));

function tell(lines) {
  count = lines.reduce((n, l) => n + l.quantity, 0);
  changes.dispatchEvent(new Event('change'));
  return lines;
}

export const pieces = () => count;

function withAdded(lines, line) {
  const there = lines.find((l) => l.product_id === line.product_id);
  if (!there) return [...lines, line].slice(0, LINES_MAX);
  return lines.map((l) => (l === there ? { ...l, quantity: clamp(l.quantity + line.quantity) } : l));
}

async function put(lines) {
  const answer = await send('PUT', PATH, { items: bare(lines) });
  return Array.isArray(answer?.items) ? answer.items : lines;
}

/** What could not be merged because it is sold no more is left out. */
async function putKnown(lines) {
  try {
    return await put(lines);
  } catch (e) {
    const gone = new Set((e.errors ?? []).map(({ pointer }) => Number(/^\/items\/(\d+)\//.exec(pointer)?.[1])));
    if (![400, 422].includes(e.status) || !gone.size) throw e;
    return put(lines.filter((l, i) => !gone.has(i)));
  }
}

/* What is to be put is written down before it is sent: when the answer is lost, the same is put again and nothing is
 * added twice. */
async function merge(signal) {
  const mine = local();
  let plan = stored(MERGE);
  if (plan?.user !== session.user()) plan = null;
  if (!mine.length && !plan) return null;
  if (!plan) {
    const there = await get(PATH, { signal, array: 'items' });
    plan = { user: session.user(), items: bare(mine.reduce(withAdded, there.items)) };
    store(MERGE, plan);
    store(LOCAL, null);
  }
  const lines = await putKnown(plan.items);
  store(MERGE, null);
  return lines;
}

async function present(signal) {
  if (!session.signedIn()) return local();
  return (await merge(signal)) ?? (await get(PATH, { signal, array: 'items' })).items;
}

function inTurn(f) {
  const mine = turn.then(f, f);
  turn = mine.catch(() => {});
  return mine;
}

/** The lines [{product_id, sku, name, quantity, price}]. */
export const load = (signal) => inTurn(async () => tell(await present(signal)));

function change(f) {
  return inTurn(async () => {
    if (session.signedIn()) {
      try {
        return tell(await put(f(await present())));
      } catch (e) {
        if (e.status !== 401) throw e; // the session has ended: kept here, and merged on the next sign-in
      }
    }
    const lines = f(local());
    store(LOCAL, lines);
    return tell(lines);
  });
}

export const add = (p, quantity) => change((lines) => {
  if (lines.length >= LINES_MAX && !lines.some((l) => l.product_id === p.id)) {
    throw new ApiError(422, { detail: 'your cart holds 1,000 different things, which is the most that it can' });
  }
  return withAdded(lines, { product_id: p.id, sku: p.sku, name: p.name, price: p.price, quantity: clamp(quantity) });
});

/** Lines as those of an order. */
export const addAll = (more) => change((lines) =>
  more.map(({ product_id, sku, name, price, quantity }) => ({ product_id, sku, name, price, quantity })).reduce(withAdded, lines));

/** 0 takes it out. */
export const set = (productId, quantity) => change((lines) =>
  lines.map((l) => (l.product_id === productId ? { ...l, quantity } : l)).filter((l) => l.quantity > 0));

/** An order was placed: the server empties the cart. */
export const emptied = () => tell([]);

/** Signed out: what this browser holds, which is nothing of the account's. */
export const reset = () => tell(session.signedIn() ? [] : local());
