// SPDX-License-Identifier: Apache-2.0
// News of orders, the API's notifications. Opening one, or asking for it, marks it as read.

import { explain, send } from '../api.js';
import { announce, h } from '../dom.js';
import { when } from '../format.js';
import { button, empty, heading, pagedList } from '../parts.js';
import * as session from '../session.js';
import { toSignIn } from './account.js';

async function markRead(n) {
  await send('POST', `/api/v1/notifications/${encodeURIComponent(n.id)}/read`);
  n.read = true;
  dispatchEvent(new Event('ficus-news'));
}

export function newsItem(n) {
  const kind = n.kind === 'order.confirmed' ? 'confirmed' : 'cancelled';
  const error = h('p.error', { hidden: true });
  const node = h(`li.news.${kind}`, h('div', h('a', { href: `/orders/${encodeURIComponent(n.order_id)}`,
    onclick: () => { if (!n.read) markRead(n).catch(() => { /* it stays unread */ }); } }, n.text),
  h('span.quiet', n.read ? null : h('span.new', 'New'), h('time', { datetime: n.at }, when(n.at))), error));
  if (!n.read) {
    node.classList.add('unread');
    const read = button('Mark as read', async () => {
      try {
        await markRead(n);
        const next = node.nextElementSibling?.querySelector('a') ?? node.querySelector('a');
        node.replaceWith(newsItem(n));
        next.isConnected ? next.focus() : document.querySelector('main h1')?.focus();
        announce('Marked as read');
      } catch (e) {
        error.textContent = `${explain(e, 'your news')} It stays unread.`;
        error.hidden = false;
      }
    }, 'plain');
    read.setAttribute('aria-label', `Mark as read: ${n.text} ${when(n.at)}`);
    node.append(read);
  }
  return node;
}

export default async function news(ctx) {
  if (!session.signedIn()) return toSignIn('Please sign in to see the news of your orders.');
  const list = pagedList(ctx, { part: 'your news', path: '/api/v1/notifications', kind: 'newslist', item: newsItem,
    none: () => empty('BELL', 'Nothing yet. We write here what becomes of your orders.'), first: history.state?.pages ?? 1 });
  ctx.title('News');
  ctx.render(heading('News of your orders'), list.node);
  await list.done;
  return undefined;
}
