// SPDX-License-Identifier: Apache-2.0
// One product.

import { ApiError, explain, get } from '../api.js';
import * as cart from '../cart.js';
import { h } from '../dom.js';
import { kindly } from '../format.js';
import { price, productCard, quantityInput, slow, stockNote, trouble } from '../parts.js';
import { tile } from '../tile.js';
import missing from './missing.js';

function buying(p) {
  const note = h('p.after', { role: 'status' });
  const quantity = quantityInput(1, `How many ${kindly(p.name)}`);
  const add = h('button.button.first', { type: 'button', onclick: async () => {
    if (add.getAttribute('aria-disabled')) return;
    add.setAttribute('aria-disabled', 'true');
    note.replaceChildren();
    try {
      await cart.add(p, Number(quantity.input.value));
      note.replaceChildren('It is in your cart. ', h('a', { href: '/cart' }, 'See the cart'));
    } catch (e) {
      note.replaceChildren(h('span.error', `${explain(e, 'the cart')} It was not added.`));
    } finally {
      add.removeAttribute('aria-disabled');
    }
  } }, 'Add to cart');
  return h('div.buy', h('div.row', quantity.node, add), note);
}

/** Others with the same last word, which in this range says what a thing is. Without search there are none. */
async function alike(ctx, p, box) {
  const words = kindly(p.name).replace(/[^\p{L}\s-]/gu, ' ').split(/\s+/).filter((w) => w.length > 3);
  if (!words.length) return;
  try {
    const { items } = await get(`/api/v1/search?q=${encodeURIComponent(words.at(-1))}&limit=6`, { signal: ctx.signal, tries: 1, array: 'items' });
    const others = items.filter((o) => o.id !== p.id).slice(0, 4);
    if (ctx.alive && others.length) box.replaceChildren(h('h2', 'More like this'), h('ul.grid.four', others.map(productCard)));
  } catch { /* it is an extra */ }
}

export default async function product(ctx) {
  ctx.title('Product');
  ctx.render(h('article.product', { 'aria-busy': 'true' }, h('div.bone.art'), h('div', h('h1.hidden', 'Loading the product…'), h('div.bone.line'), h('div.bone.line'), slow())));
  let p;
  try {
    p = await get(`/api/v1/products/${encodeURIComponent(ctx.params.id)}`, { signal: ctx.signal });
  } catch (e) {
    if (e instanceof ApiError && e.status === 404) return missing(ctx);
    if (ctx.alive && e?.name !== 'AbortError') ctx.render(h('h1', 'Product'), trouble(e, 'the catalogue', () => product(ctx)));
    return;
  }
  ctx.title(kindly(p.name));
  const extra = h('section.alike');
  ctx.render(
    h('article.product', h('div.art', tile(p.sku, p.name)),
      h('div.about', h('h1', kindly(p.name)), h('p.row', price(p.price, 'price.big'), stockNote(p.available)),
        p.available === 0 ? h('p.quiet', 'There is none left at the moment; an order for it would be cancelled.') : null,
        buying(p),
        h('dl.facts', h('div', h('dt', 'Item number'), h('dd', p.sku)), h('div', h('dt', 'In the wholesaler’s list'), h('dd', p.name))))),
    extra);
  ctx.ready();
  await alike(ctx, p, extra);
}

