// SPDX-License-Identifier: Apache-2.0
// One order, live: what the server said last is what stands here, and whether we hear from it now is said beside it.

import { ApiError, explain, get, send } from '../api.js';
import * as cart from '../cart.js';
import { announce, h, sleep, svg } from '../dom.js';
import { kindly, money, when } from '../format.js';
import { ask, button, price, skeleton, slow, trouble } from '../parts.js';
import { go } from '../router.js';
import * as session from '../session.js';
import { follow } from '../stream.js';
import { tile } from '../tile.js';
import { toSignIn } from './account.js';
import missing from './missing.js';

export const statusWord = { pending: 'Processing', confirmed: 'Confirmed', cancelled: 'Cancelled' };

const reasons = {
  out_of_stock: ['Something in it was out of stock.', 'Nothing was charged.'],
  payment_declined: ['The bank declined the card.', 'Nothing was charged.'],
  payment_unavailable: ['The bank could not be reached for a long time.', 'You have paid nothing.'],
  unknown_product: ['It held something that we do not sell.', 'Nothing was charged.'],
  by_customer: ['You cancelled it.', 'You have paid nothing.'],
  by_admin: ['Our staff cancelled it.', 'You have paid nothing.'],
};

/** [what, what of the money]. It had been confirmed: then it had been paid, and that is given back first. */
export function why(order) {
  const [what, paid] = reasons[order.reason] ?? ['It could not be completed.', 'You have paid nothing.'];
  const refunded = order.history?.some((entry) => entry.status === 'confirmed');
  return [what, refunded ? `${money(order.total)} went back to your card.` : paid];
}

const asked = (id) => `ficus.cancel.${id}`;
function wasAsked(id) { try { return sessionStorage.getItem(asked(id)) !== null; } catch { return false; } }
function setAsked(id, on) {
  try { if (on) sessionStorage.setItem(asked(id), '1'); else sessionStorage.removeItem(asked(id)); } catch { /* said once only */ }
}

const signs = { pending: 'M12 6v6l4 3', confirmed: 'm6.5 12.5 4 4 7-9', cancelled: 'm8 8 8 8m0-8-8 8' };
const sign = (status) => svg('svg', { class: `sign ${status}`, viewBox: '0 0 24 24', 'aria-hidden': 'true' },
  svg('circle', { cx: 12, cy: 12, r: 10 }), svg('path', { d: signs[status] ?? signs.pending }));

function words(order, cancelling) {
  if (order.status === 'confirmed')
    return cancelling ? ['Being cancelled…', `${money(order.total)} is on its way back to your card.`] : ['Confirmed', `Paid: ${money(order.total)}. Thank you.`];
  if (order.status === 'cancelled') return ['Cancelled', why(order).join(' ')];
  return cancelling ? ['Being cancelled…', 'We are undoing what was begun.'] : ['Processing…', 'We reserve the goods and charge the card. This page changes by itself.'];
}

function items(order) {
  return h('ul.lines.still', order.items.map((l) => h('li.line',
    h('span.thumb', tile(l.sku, l.name)),
    h('div.what', h('a', { href: `/products/${encodeURIComponent(l.product_id)}` }, kindly(l.name)), h('span.quiet', `${l.quantity} × ${money(l.price)}`)),
    price({ ...l.price, amount: l.price.amount * l.quantity }))));
}

export default async function orderPage(ctx) {
  if (!session.signedIn()) return toSignIn('Please sign in to see this order.');
  const path = `/api/v1/orders/${encodeURIComponent(ctx.params.id)}`;
  ctx.title('Order');
  ctx.render(h('header.head', h('h1', 'Your order')), h('div', { 'aria-busy': 'true' }, skeleton(3, 'lines'), slow()));
  let order;
  try {
    order = await get(path, { signal: ctx.signal, array: 'history' });
  } catch (e) {
    if (e instanceof ApiError && e.status === 404) return missing(ctx);
    if (ctx.alive && e?.name !== 'AbortError') ctx.render(h('header.head', h('h1', 'Your order')), trouble(e, 'the order service', () => orderPage(ctx)));
    return undefined;
  }

  let cancelling = order.status !== 'cancelled' && wasAsked(order.id);
  let watching = false, repeating = false;
  const status = h('div.status', { role: 'status' });
  const link = h('p.link', { hidden: true });
  const history = h('ol.history');
  const actions = h('div.row');
  const problem = h('p.error', { role: 'alert', hidden: true });

  function draw() {
    const [title, text] = words(order, cancelling);
    ctx.title(`${title} · Order`);
    status.className = `status ${order.status}`;
    // Only a change of words is news to a screen reader.
    if (status.dataset.words !== title + text) {
      status.dataset.words = title + text;
      status.replaceChildren(sign(cancelling ? 'pending' : order.status), h('div', h('p.title', title), h('p', text)));
    }
    history.replaceChildren(...order.history.map((e) => h(`li.${e.status}`, h('b', e.status === 'pending' ? 'Placed' : statusWord[e.status] ?? e.status), ' ', h('time', { datetime: e.at }, when(e.at, true)))));
    const mayCancel = order.status !== 'cancelled' && !cancelling;
    const mayRepeat = order.status === 'cancelled' && order.reason !== 'unknown_product';
    actions.replaceChildren(...(mayCancel ? [button('Cancel this order', cancel)] : []), ...(mayRepeat ? [button('Put these into your cart', repeat)] : []));
  }

  function connection(state, wait, now) {
    if (state === 'live') {
      if (!link.hidden) announce('Connected again.');
      link.hidden = true;
      return;
    }
    const text = 'Reconnecting: we do not hear from the shop at the moment. Above is the last that we know.';
    link.hidden = false;
    if (!link.firstChild || link.dataset.text !== text) announce(text);
    link.dataset.text = text;
    link.replaceChildren(h('span', text), button('Try now', now, 'plain'));
  }

  function take(entry, index) {
    if (Number.isInteger(index) && index < order.history.length) return; // said already
    order = { ...order, status: entry.status, reason: entry.reason ?? null, history: [...order.history, entry] };
    if (order.status === 'cancelled') { cancelling = false; setAsked(order.id, false); }
    draw();
  }

  /** The stream ends at confirmed; what a cancel makes of a confirmed order is asked for. */
  async function watch() {
    if (watching) return;
    watching = true;
    try {
      if (order.status === 'pending')
        await follow(`${path}/events`, { id: order.history.length - 1, signal: ctx.signal, state: connection,
          event: (m) => {
            let entry;
            try { entry = JSON.parse(m.data); } catch { return false; }
            if (!statusWord[entry?.status]) return false;
            take(entry, Number.parseInt(m.id, 10));
            return order.status !== 'pending';
          } });
      for (let round = 0; order.status === 'pending' || (cancelling && order.status === 'confirmed'); round++) await look(round);
      connection('live');
      dispatchEvent(new Event('ficus-news'));
    } catch (e) {
      if (e?.name !== 'AbortError' && ctx.alive && !(e instanceof ApiError && e.status === 401)) {
        problem.textContent = `${explain(e, 'the order service')} Reload the page to see the present status.`;
        problem.hidden = false;
      }
    } finally {
      watching = false;
    }
  }

  async function look(round) {
    const wait = Math.min(5000, 300 * 1.6 ** round);
    try {
      const now = await get(path, { signal: ctx.signal, tries: 1, array: 'history' });
      connection('live');
      if (now.history.length > order.history.length) {
        order = now;
        if (order.status === 'cancelled') { cancelling = false; setAsked(order.id, false); }
        draw();
        return;
      }
    } catch (e) {
      if (!(e instanceof ApiError) || !e.passing) throw e;
      connection('waiting', wait, () => {});
    }
    await sleep(wait, ctx.signal, (now) => { if (!link.hidden) connection('waiting', wait, now); });
  }

  /** Placing it emptied the cart; with another card, or fewer pieces, it may be tried again. */
  async function repeat() {
    if (repeating) return;
    repeating = true;
    problem.hidden = true;
    try {
      await cart.addAll(order.items);
      if (ctx.alive) go('/cart');
    } catch (e) {
      problem.textContent = `${explain(e, 'the cart')} Please look into it before you try again.`;
      problem.hidden = false;
    } finally {
      repeating = false;
    }
  }

  async function cancel() {
    const text = order.status === 'confirmed' ? `It is cancelled for good, and ${money(order.total)} goes back to your card.` : 'It is cancelled for good. Should it be paid by then, the money goes back to your card.';
    if (!await ask('Cancel this order?', text, 'Cancel the order', 'Keep it') || !ctx.alive) return;
    problem.hidden = true;
    try {
      await send('POST', `${path}/cancel`, undefined, { signal: ctx.signal });
      cancelling = order.status !== 'cancelled';
      setAsked(order.id, cancelling);
    } catch (e) {
      if (!(e instanceof ApiError)) return;
      if (e.status !== 409) {
        // Asking again is safe: a cancel on its way is answered like the first.
        problem.textContent = `${explain(e, 'the order service')} ${e.status === 503 || (e.status >= 400 && e.status < 500) ? 'The order was not cancelled.' : 'We do not know whether your wish arrived.'} You may ask again.`;
        problem.hidden = false;
        return;
      }
      cancelling = true; // it was cancelled meanwhile; look() brings by whom
    }
    draw();
    status.tabIndex = -1;
    status.focus();
    watch();
  }

  draw();
  ctx.render(
    h('header.head', h('h1', 'Your order'), h('p.quiet', 'Number ', h('code', order.id))),
    status, link, problem,
    h('div.two', h('section', h('h2', 'Items'), items(order), h('p.row.total', h('span', 'Total'), price(order.total, 'price.big'))),
      h('aside.sum', { 'aria-label': 'History' }, h('h2', 'History'), history, actions)));
  ctx.ready();
  watch();
  return undefined;
}
