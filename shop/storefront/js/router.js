// SPDX-License-Identifier: Apache-2.0
// History URLs without reloads. A view is an async function of a context; it ends when its signal aborts. Each history
// entry has a key, under which its scroll position and what the view wants to find again (`keep`) are remembered.

import { byId } from './dom.js';

const SHOP = 'Ficus & Fig';
const KEPT_MAX = 20;
const routes = [];
let otherwise = null;
const kept = new Map();
let current = null;
let positions = {};

try { positions = JSON.parse(sessionStorage.getItem('ficus.scroll')) ?? {}; } catch { /* begin at the top */ }

/** pattern: '/orders/:id', or '*' for all others; load: () => a promise of the view, so that a page's code comes when it
 *  is needed. */
export function route(pattern, load) {
  if (pattern === '*') { otherwise = { load }; return; }
  const names = [];
  const regex = pattern.replace(/:(\w+)/g, (all, name) => { names.push(name); return '([^/]+)'; });
  routes.push({ names, load, regex: new RegExp(`^${regex}/?$`) });
}

function match(path) {
  for (const r of routes) {
    const found = r.regex.exec(path);
    if (!found) continue;
    try {
      return { route: r, params: Object.fromEntries(r.names.map((name, i) => [name, decodeURIComponent(found[i + 1])])) };
    } catch { break; } // a broken escape
  }
  return { route: otherwise, params: {} };
}

const newKey = () => Math.random().toString(36).slice(2);
const keyNow = () => history.state?.key ?? '';

function keepOf(key) {
  const value = kept.get(key) ?? {};
  kept.delete(key);
  kept.set(key, value);
  if (kept.size > KEPT_MAX) kept.delete(kept.keys().next().value);
  return value;
}

class Context {
  constructor(params, how) {
    this.params = params;
    this.query = new URLSearchParams(location.search);
    this.key = keyNow();
    this.keep = how.back ? keepOf(this.key) : {};
    if (!how.back) kept.set(this.key, this.keep);
    this.controller = new AbortController();
    this.signal = this.controller.signal;
    this.how = how;
    this.placed = false;
  }

  get alive() { return current === this; }

  title(text) { document.title = text ? `${text} · ${SHOP}` : SHOP; }

  /** Show this. The first time, and when what had the focus goes, the focus moves to the new heading. */
  render(...nodes) {
    if (!this.alive) return;
    const main = byId('main');
    const active = document.activeElement;
    const lost = active === document.body || (main.contains(active) && active !== main);
    main.replaceChildren(...nodes);
    if (!this.how.first && !this.how.keepFocus && (lost || !this.focused)) this.focusHeading();
    this.focused = true;
    if (!this.placed && !this.how.back && !this.how.keepFocus) scrollTo(0, 0);
  }

  focusHeading() {
    const heading = byId('main').querySelector('h1');
    if (!heading) return;
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }

  /** All is there: the place where one was can be found again. */
  ready() {
    if (!this.alive || this.placed) return;
    this.placed = true;
    byId('main').removeAttribute('aria-busy');
    if (this.how.back && positions[this.key]) scrollTo(0, positions[this.key]);
  }

  /** Call when this view is left. */
  leave(f) { this.signal.addEventListener('abort', f, { once: true }); }
}

async function show(how) {
  const { route: r, params } = match(location.pathname);
  // A view may take a change of its own query without being made anew: search as you type.
  if (current?.route === r && current.update && how.same) {
    current.key = keyNow();
    current.keep = keepOf(current.key);
    current.query = new URLSearchParams(location.search);
    current.update();
    return;
  }
  current?.controller.abort(new DOMException('left', 'AbortError'));
  const context = new Context(params, how);
  context.route = r;
  current = context;
  routed.dispatchEvent(new Event('routed'));
  byId('main').setAttribute('aria-busy', 'true');
  try {
    const view = await r.load();
    if (context.alive) await view(context);
  } catch (e) {
    if (context.alive && e?.name !== 'AbortError') failed(context, e);
  }
  context.ready();
}

let failed = () => {};
export const routed = new EventTarget();
export function onFailure(f) { failed = f; }

/** replace: no new entry; keepFocus: the person is typing elsewhere, leave the focus there. */
export function go(url, { replace = false, keepFocus = false } = {}) {
  const to = new URL(url, location.href);
  const same = to.pathname === location.pathname && keepFocus;
  const state = { key: replace ? keyNow() : newKey() };
  history[replace ? 'replaceState' : 'pushState'](state, '', to.pathname + to.search);
  return show({ keepFocus, same });
}

export const here = () => location.pathname + location.search;

function clicked(e) {
  const a = e.target.closest?.('a[href]');
  if (!a || e.defaultPrevented || e.button || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey || a.target) return;
  const to = new URL(a.href);
  if (to.origin !== location.origin) return;
  e.preventDefault();
  if (to.hash) byId(to.hash.slice(1))?.focus();
  else go(to.href);
}

export function start() {
  history.scrollRestoration = 'manual';
  if (!history.state?.key) history.replaceState({ key: newKey() }, ''); // come here, not reloaded
  document.addEventListener('click', clicked);
  addEventListener('popstate', () => show({ back: true }));
  addEventListener('scroll', () => { if (current?.placed) positions[current.key] = scrollY; }, { passive: true });
  addEventListener('pagehide', () => {
    const last = Object.fromEntries(Object.entries(positions).slice(-50));
    try { sessionStorage.setItem('ficus.scroll', JSON.stringify(last)); } catch { /* it is a comfort only */ }
  });
  return show({ first: true, back: true });
}
