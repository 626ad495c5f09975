// SPDX-License-Identifier: Apache-2.0
// What several pages are made of.

import { announce, h, svg } from './dom.js';
import { ApiError, explain, get } from './api.js';
import { kindly, money, stock } from './format.js';
import { tile } from './tile.js';

export const heading = (text, ...rest) => h('header.head', h('h1', text), ...rest);

export const button = (text, onclick, kind = 'second') => h(`button.button.${kind}`, { type: 'button', onclick }, text);
export const linkButton = (text, href, kind = 'second') => h(`a.button.${kind}`, { href }, text);

export const price = (m, kind = 'price') => h(`span.${kind}`, money(m));

export function stockNote(available) {
  const s = stock(available);
  return s && h(`span.stock.${s.state}`, s.text);
}

/** A failure, said truly, with a way on. */
export function trouble(error, part, retry, ...more) {
  const missing = error instanceof ApiError && error.status === 404;
  return h('div.trouble', { role: 'alert' },
    h('p', explain(error, part)),
    error instanceof ApiError && error.passing ? h('p.quiet', 'It usually comes back within seconds. What you did so far is safe.') : null,
    h('p.row', retry && !missing ? button('Try again', retry) : null, ...more));
}

/** `art`: a word that a tile is drawn of. */
export const empty = (art, text, ...more) => h('div.empty', tile(art, art), h('div', h('p', text), ...more));

export function skeleton(count, kind) {
  return h(`div.${kind}`, { 'aria-hidden': 'true' }, Array.from({ length: count }, () => h('div.bone')));
}

/** Seen after some seconds only. */
export const slow = (what = 'p.slow') => h(what, 'This takes longer than usual. We are still trying…');

/** `box` shows the skeleton, then what `show` makes of what `fetch` brings, or the trouble. Returns a promise. */
export async function load(ctx, box, { part, bones, fetch, show, more = [] }) {
  box.setAttribute('aria-busy', 'true');
  box.replaceChildren(bones, slow());
  try {
    const value = await fetch(ctx.signal);
    if (!ctx.alive) return;
    box.replaceChildren(...[show(value)].flat());
  } catch (e) {
    if (!ctx.alive || e?.name === 'AbortError') return;
    const again = () => load(ctx, box, { part, bones, fetch, show, more });
    box.replaceChildren(trouble(e, part, again, ...more.map((make) => make())));
  } finally {
    box.removeAttribute('aria-busy');
  }
}

export function productCard(p) {
  return h('li.card',
    h('a', { href: `/products/${encodeURIComponent(p.id)}` },
      tile(p.sku, p.name),
      h('span.name', kindly(p.name)),
      h('span.row', price(p.price), stockNote(p.available))));
}

/** A labelled input with its hint and its error. wrong: what people are told instead of what the API says to programs. */
export function field({ name, label, hint, wrong, ...attributes }) {
  const input = h('input', { id: `f-${name}`, name, required: true, 'aria-describedby': `f-${name}-hint f-${name}-error`, ...attributes });
  const error = h('p.error', { id: `f-${name}-error`, hidden: true });
  return {
    input,
    label,
    wrong,
    node: h('div.field', h('label', { for: `f-${name}` }, label), hint ? h('p.quiet', { id: `f-${name}-hint` }, hint) : null, input, error),
    say(text) {
      error.textContent = text;
      error.hidden = !text;
      if (text) input.setAttribute('aria-invalid', 'true');
      else input.removeAttribute('aria-invalid');
    },
  };
}

/**
 * Put the problem's errors beside the fields: {pointer: field}, in the order of the page. The first wrong one gets the
 * focus. True: some fitted.
 */
export function fieldErrors(error, fields) {
  const wrong = new Map((error.errors ?? []).map(({ pointer, detail }) => [pointer, detail]));
  const found = Object.entries(fields).filter(([pointer]) => wrong.has(pointer));
  for (const [pointer, f] of found) f.say(f.wrong ?? `${f.label} ${wrong.get(pointer)}.`.replace(/\.\.$/, '.'));
  found[0]?.[1].input.focus();
  return found.length > 0;
}

/** Pages by cursor: items are appended, the focus goes to the first new one. keep.items, keep.next survive a way back. */
export function pagedList(ctx, { part, path, kind, bones, item, none, first = 1 }) {
  const { keep } = ctx;
  const list = h(`ul.${kind}`);
  const foot = h('div.more');
  const box = h('div', list, foot);
  const url = (limit) => {
    const to = new URL(path, location.origin);
    to.searchParams.set('limit', String(limit));
    if (keep.next) to.searchParams.set('after', keep.next);
    return to.pathname + to.search;
  };

  async function page(isFirst) {
    foot.replaceChildren();
    const waiting = h('div', skeleton(isFirst ? 12 : 6, kind), slow());
    box.setAttribute('aria-busy', 'true');
    foot.before(waiting);
    try {
      const answer = await get(url(isFirst ? Math.min(100, 24 * first) : 24), { signal: ctx.signal, array: 'items' });
      if (!ctx.alive) return;
      const nodes = answer.items.map(item);
      keep.items = [...(keep.items ?? []), ...answer.items];
      keep.next = answer.next ?? null;
      history.replaceState({ ...history.state, pages: Math.ceil(keep.items.length / 24) }, '');
      list.append(...nodes);
      end();
      if (!isFirst && nodes.length) {
        nodes[0].querySelector('a, button')?.focus({ preventScroll: true });
        announce(`${nodes.length} more`);
      }
    } catch (e) {
      if (!ctx.alive || e?.name === 'AbortError') return;
      foot.replaceChildren(trouble(e, part, () => page(isFirst)));
    } finally {
      waiting.remove();
      box.removeAttribute('aria-busy');
    }
  }

  function end() {
    foot.replaceChildren();
    if (!keep.items.length) foot.append(none());
    else if (keep.next) foot.append(button('Show more', () => page(false)));
  }

  const done = keep.items ? (list.append(...keep.items.map(item)), end(), Promise.resolve()) : page(true);
  return { node: box, done };
}

/** A question that must be answered first. Resolves to true or false. */
export function ask(title, text, yes, no) {
  return new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-labelledby': 'ask-title' },
      h('form', { method: 'dialog' }, h('h2', { id: 'ask-title' }, title), h('p', text),
        h('p.row', h('button.button.first', { value: 'yes' }, yes), h('button.button.second', { value: 'no', autofocus: true }, no))));
    dialog.addEventListener('close', () => { dialog.remove(); resolve(dialog.returnValue === 'yes'); });
    document.body.append(dialog);
    dialog.showModal();
  });
}

export function quantityInput(value, label, changed) {
  const input = h('input', { type: 'number', min: 1, max: 1000000, step: 1, value, inputmode: 'numeric', 'aria-label': label,
    onchange: () => {
      const n = Math.min(1000000, Math.max(1, Math.round(Number(input.value)) || 1));
      input.value = n;
      changed?.(n);
    } });
  const step = (by, word) => h('button', { type: 'button', 'aria-label': `${word}: ${label}`,
    onclick: () => { input.value = Number(input.value) + by; input.dispatchEvent(new Event('change')); } },
  svg('svg', { viewBox: '0 0 20 20', 'aria-hidden': 'true' }, svg('path', { d: by > 0 ? 'M4 10h12M10 4v12' : 'M4 10h12' })));
  return { input, node: h('div.quantity', step(-1, 'One less'), input, step(1, 'One more')) };
}
