// SPDX-License-Identifier: Apache-2.0
// The whole range page by page, and search as you type: / and /?q=. When search is down the range is still there.

import { ApiError, get } from '../api.js';
import { announce, h } from '../dom.js';
import { plural } from '../format.js';
import { button, empty, heading, pagedList, productCard, skeleton, slow, trouble } from '../parts.js';
import { frieze } from '../tile.js';

const STEP = 24, LIMIT_MAX = 100;
const ideas = ['Christmas', 'Candle', 'Tea', 'Garden', 'Party', 'Heart', 'Vintage', 'Necklace', 'Paper', 'Kitchen'];

const hero = () => h('header.hero',
  h('div', h('h1', 'Presents, paper & small pleasures'), h('p', 'Lanterns, cake tins, bunting: the whole range, a page at a time.')),
  frieze());

const chips = () => h('nav.chips', { 'aria-label': 'Ideas' }, ideas.map((idea) => h('a', { href: `/?q=${idea.toLowerCase()}` }, idea)));

const range = (ctx) => pagedList(ctx, { part: 'the catalogue', path: '/api/v1/products', kind: 'grid', item: productCard,
  none: () => empty('CABINET', 'The shelves are still empty. Please come back soon.'), first: history.state?.pages ?? 1 });

export default async function browse(ctx) {
  const page = h('div');
  let running = null;

  async function everything() {
    ctx.title('');
    const list = range(ctx);
    page.replaceChildren(hero(), chips(), list.node);
    await list.done;
  }

  function results(q, found) {
    const count = found.total ?? found.items.length;
    const more = found.items.length < Math.min(count, LIMIT_MAX) && found.items.length >= found.limit;
    const nodes = found.items.map(productCard);
    const inside = page.contains(document.activeElement);
    const say = count === 0 ? 'Nothing found' : found.items.length < count ? `Best ${found.items.length} of ${plural(count, 'match', 'matches')}` : plural(count, 'match', 'matches');
    page.replaceChildren(heading(`“${q}”`, h('p.quiet', say)),
      count === 0 ? empty('LANTERN', 'We found nothing for this. A shorter word, or one of these?', chips()) : h('ul.grid', nodes),
      h('div.more', more ? button('Show more', () => search(q, found.limit + STEP, found.items.length)) : null));
    if (inside) ctx.focusHeading();
    return nodes;
  }

  async function search(q, limit, from = 0) {
    running?.abort(new DOMException('another search', 'AbortError'));
    const mine = running = new AbortController();
    ctx.leave(() => mine.abort(new DOMException('left', 'AbortError')));
    ctx.title(`“${q}”`);
    page.setAttribute('aria-busy', 'true');
    if (!from) {
      const old = page.querySelector('ul.grid');
      old?.classList.add('old');
      page.replaceChildren(heading(`“${q}”`, h('p.quiet', 'Searching… ', slow('span.slow'))), old ?? skeleton(12, 'grid'));
    }
    try {
      const found = await get(`/api/v1/search?q=${encodeURIComponent(q)}&limit=${Math.min(LIMIT_MAX, limit)}`, { signal: mine.signal, tries: 2, timeoutMs: 4000, array: 'items' });
      if (mine !== running || !ctx.alive) return;
      ctx.keep.found = { q, ...found, limit };
      const nodes = results(q, ctx.keep.found);
      if (from) nodes[from]?.querySelector('a').focus({ preventScroll: true });
      announce(found.items.length ? `${plural(found.total ?? found.items.length, 'match', 'matches')} for ${q}` : `Nothing found for ${q}`);
    } catch (e) {
      if (e?.name === 'AbortError' || mine !== running || !ctx.alive) return;
      const list = e instanceof ApiError && e.passing ? range(ctx) : null;
      page.replaceChildren(heading(`“${q}”`), trouble(e, 'the search', () => search(q, limit)),
        list ? h('h2', 'Browse the whole range meanwhile') : '', list ? list.node : '');
    } finally {
      if (mine === running) page.removeAttribute('aria-busy');
    }
  }

  ctx.update = async () => {
    const q = (ctx.query.get('q') ?? '').trim().slice(0, 100);
    if (scrollY > 0 && ctx.placed) scrollTo(0, 0);
    running?.abort(new DOMException('another search', 'AbortError'));
    if (!q) return everything();
    const known = ctx.keep.found;
    if (known?.q === q) return void results(q, known);
    return search(q, STEP);
  };

  ctx.render(page);
  const first = ctx.update();
  ctx.render(page); // now that there is a heading to go to
  await first;
}
