// SPDX-License-Identifier: Apache-2.0
// The cart, with quantities to change and, when the catalogue says it, what is available.

import { explain, get } from '../api.js';
import * as cart from '../cart.js';
import { announce, h } from '../dom.js';
import { kindly, money } from '../format.js';
import { empty, heading, linkButton, load, price, quantityInput, skeleton } from '../parts.js';
import * as session from '../session.js';
import { tile } from '../tile.js';

const LOOKED_UP_MAX = 60, AT_ONCE = 4;

export const totalOf = (lines) => ({
  amount: lines.reduce((sum, l) => sum + (l.price?.amount ?? NaN) * l.quantity, 0),
  currency: lines[0]?.price?.currency ?? 'GBP',
});

/** Ask the catalogue about each line; `each` is told {id: product}. What does not answer is left as it is. */
async function lookUp(ctx, lines, each) {
  const todo = lines.slice(0, LOOKED_UP_MAX);
  const worker = async () => {
    for (let l = todo.shift(); l && ctx.alive; l = todo.shift()) {
      try {
        each(l.product_id, await get(`/api/v1/products/${encodeURIComponent(l.product_id)}`, { signal: ctx.signal, tries: 1 }));
      } catch { /* not known then */ }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

export default async function cartPage(ctx) {
  const products = new Map();
  const box = h('div');
  const warn = h('p.error', { role: 'alert', hidden: true });
  let lines = [];
  let redraw = () => {};

  async function setQuantity(line, n) {
    warn.hidden = true;
    try {
      lines = await cart.set(line.product_id, n);
      announce(n === 0 ? `${kindly(line.name)} was taken out` : `${n} of ${kindly(line.name)}`);
    } catch (e) {
      warn.textContent = `${explain(e, 'the cart')} The change was not kept.`;
      warn.hidden = false;
    }
    if (ctx.alive) redraw();
  }

  function row(line) {
    const now = products.get(line.product_id);
    const left = now?.available;
    const short = Number.isInteger(left) && left < line.quantity;
    return h('li.line',
      h('a.thumb', { href: `/products/${encodeURIComponent(line.product_id)}`, tabindex: -1, 'aria-hidden': 'true' }, tile(line.sku, line.name)),
      h('div.what', h('a', { href: `/products/${encodeURIComponent(line.product_id)}` }, kindly(line.name)), h('span.quiet', `${money(line.price)} each`),
        short ? h('span.stock.none', left > 0 ? `Only ${left} left: an order for more would be cancelled` : 'Out of stock: an order for it would be cancelled') : null),
      quantityInput(line.quantity, `How many ${kindly(line.name)}`, (n) => setQuantity(line, n)).node,
      price({ ...line.price, amount: (line.price?.amount ?? NaN) * line.quantity }),
      h('button.plain', { type: 'button', 'aria-label': `Take out ${kindly(line.name)}`, onclick: () => setQuantity(line, 0) }, 'Remove'));
  }

  function drawn() {
    if (!lines.length) return empty('SHOPPER BAG', 'Your cart is empty.', h('p.row', linkButton('Find something nice', '/', 'first')));
    return h('div.two', h('ul.lines', lines.map(row)),
      h('aside.sum', { 'aria-label': 'Summary' }, h('p.row', h('span', 'Total'), price(totalOf(lines), 'price.big')),
        session.signedIn() ? null : h('p.quiet', 'You are not signed in. We keep this cart in your browser and add it to yours when you sign in.'),
        linkButton('To the checkout', '/checkout', 'first')));
  }

  // The focus stays on the control that was used, although the list is drawn anew.
  redraw = () => {
    const was = document.activeElement?.getAttribute('aria-label');
    box.replaceChildren(drawn());
    const now = was && [...box.querySelectorAll('[aria-label]')].find((n) => n.getAttribute('aria-label') === was);
    if (now) now.focus();
    else if (was && document.activeElement === document.body) ctx.focusHeading();
  };

  ctx.title('Cart');
  ctx.render(heading('Your cart'), warn, box);
  await load(ctx, box, { part: 'the cart', bones: skeleton(3, 'lines'), fetch: (signal) => cart.load(signal), show: (found) => { lines = found; return drawn(); } });
  ctx.ready();
  await lookUp(ctx, lines, (id, p) => {
    products.set(id, p);
    // Signed out the prices are those of the day when it was put in.
    lines = lines.map((l) => (l.product_id === id && !session.signedIn() ? { ...l, name: p.name, price: p.price } : l));
  });
  if (ctx.alive && products.size && lines.length) redraw();
}
