// SPDX-License-Identifier: Apache-2.0
// Your orders, newest first.

import { h } from '../dom.js';
import { kindly, plural, when } from '../format.js';
import { empty, heading, linkButton, pagedList, price } from '../parts.js';
import * as session from '../session.js';
import { tile } from '../tile.js';
import { toSignIn } from './account.js';
import { statusWord, why } from './order.js';

const SHOWN = 4;

export function orderCard(o) {
  const rest = o.items.length - SHOWN;
  return h('li.order', h('a', { href: `/orders/${encodeURIComponent(o.id)}` },
    h('span.tiles', o.items.slice(0, SHOWN).map((l) => tile(l.sku, l.name)), rest > 0 ? h('span.rest', `+${rest}`) : null),
    h('span.what', h('b', kindly(o.items[0]?.name ?? '') + (o.items.length > 1 ? ` and ${plural(o.items.length - 1, 'more item')}` : '')),
      h('span.quiet', when(o.history?.[0]?.at)), o.status === 'cancelled' ? h('span.quiet', why(o)[0]) : null),
    h('span.end', h(`span.badge.${o.status}`, statusWord[o.status] ?? o.status), price(o.total))));
}

const filters = [['', 'All'], ['pending', 'Processing'], ['confirmed', 'Confirmed'], ['cancelled', 'Cancelled']];

export default async function orders(ctx) {
  if (!session.signedIn()) return toSignIn('Please sign in to see your orders.');
  const status = statusWord[ctx.query.get('status')] ? ctx.query.get('status') : '';
  const list = pagedList(ctx, { part: 'the order service', path: `/api/v1/orders${status ? `?status=${status}` : ''}`, kind: 'orders', item: orderCard,
    none: () => empty('BOX', status ? 'No orders of this kind.' : 'You have not ordered anything yet.', h('p.row', linkButton('Find something nice', '/', 'first'))),
    first: history.state?.pages ?? 1 });
  ctx.title('Your orders');
  ctx.render(heading('Your orders'),
    h('nav.chips', { 'aria-label': 'Which orders' }, filters.map(([value, word]) => h('a', { href: value ? `/orders?status=${value}` : '/orders', 'aria-current': value === status ? 'page' : null }, word))),
    list.node);
  await list.done;
  return undefined;
}
