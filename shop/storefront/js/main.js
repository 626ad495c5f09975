// SPDX-License-Identifier: Apache-2.0
// The start: pages, header, and what happens when a token is refused.

import { get, refused } from './api.js';
import * as cart from './cart.js';
import { announce, byId, h } from './dom.js';
import { button } from './parts.js';
import { go, here, onFailure, route, routed, start } from './router.js';
import * as session from './session.js';
import browse from './views/browse.js';

const page = (file, name = 'default') => () => import(`./views/${file}.js`).then((module) => module[name]);

route('/', async () => browse);
route('/products/:id', page('product'));
route('/cart', page('cart'));
route('/checkout', page('checkout'));
route('/orders', page('orders'));
route('/orders/:id', page('order'));
route('/notifications', page('news'));
route('/home', page('account', 'home'));
route('/sign-in', page('account', 'signIn'));
route('/sign-up', page('account', 'signUp'));
route('*', page('missing'));

onFailure((context, error) => context.render(h('h1', 'This page did not work'),
  h('div.trouble', { role: 'alert' }, h('p', error instanceof TypeError && /import|module/i.test(error.message)
    ? 'A part of the page could not be loaded. The shop may be restarting.' : 'Something in what the shop sent could not be shown.'),
  h('p.row', button('Try again', () => location.reload())))));

// ---- the header ----

function badge(id, n, what) {
  const b = byId(id);
  b.hidden = !n;
  b.replaceChildren(n ? String(n > 99 ? '99+' : n) : '', h('span.hidden', n ? ` ${what}` : ''));
}

function header() {
  const here = session.signedIn();
  byId('to-orders').hidden = byId('to-news').hidden = !here;
  byId('to-account').href = here ? '/home' : '/sign-in';
  byId('account-word').textContent = here ? 'Your page' : 'Sign in';
  badge('cart-count', cart.pieces(), 'in it');
  if (!here) badge('news-count', 0, '');
}

let newsAt = 0;
async function news(force) {
  if (!session.signedIn() || (!force && Date.now() - newsAt < 15000)) return;
  newsAt = Date.now();
  try {
    const { unread } = await get('/api/v1/notifications?limit=1', { tries: 1 });
    if (session.signedIn()) badge('news-count', unread, 'unread');
  } catch { /* the number is a comfort; the page says what is wrong */ }
}

function marks() {
  const q = byId('q');
  if (document.activeElement !== q) q.value = new URLSearchParams(location.search).get('q') ?? '';
  for (const a of document.querySelectorAll('.tools a')) {
    if (a.pathname === location.pathname) a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
}

cart.changes.addEventListener('change', header);
routed.addEventListener('routed', () => { marks(); news(false); });
// The notification of a change of status comes a moment after it.
addEventListener('ficus-news', () => { news(true); setTimeout(() => news(true), 1500); });

session.changes.addEventListener('change', () => {
  header();
  newsAt = 0;
  if (session.signedIn()) news(true);
  else cart.reset();
});

const personal = /^\/(cart|checkout|orders|notifications|home)/;
// Nobody must look at, or order from, what was shown to somebody else.
session.changes.addEventListener('another', () => { if (personal.test(location.pathname)) go(here(), { replace: true }); });
refused.addEventListener('refused', async () => {
  announce('Your session has ended.');
  if (!personal.test(location.pathname)) return;
  const { toSignIn } = await import('./views/account.js');
  toSignIn('You were signed in for an hour and your session has ended. Please sign in again; you come back to where you were.');
});

// ---- search as you type ----

let typing = null;
function search(text) {
  clearTimeout(typing);
  const q = text.trim();
  const searching = location.pathname === '/' && new URLSearchParams(location.search).has('q');
  const to = q ? `/?q=${encodeURIComponent(q)}` : '/';
  if (to !== here()) go(to, { replace: searching, keepFocus: true });
}

byId('q').addEventListener('input', (e) => {
  clearTimeout(typing);
  typing = setTimeout(() => { if (e.target.value.trim() || location.pathname === '/') search(e.target.value); }, 200);
});

byId('find').addEventListener('submit', (e) => {
  e.preventDefault();
  search(byId('q').value);
  const heading = document.querySelector('main h1');
  if (heading) { heading.tabIndex = -1; heading.focus(); }
});

header();
if (session.signedIn()) cart.load().catch(() => { /* the cart page says so */ });
else cart.reset();
addEventListener('storage', (e) => { if (e.key === 'ficus.cart') cart.reset(); });
start();
