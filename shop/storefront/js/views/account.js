// SPDX-License-Identifier: Apache-2.0
// Signing in, signing up, and the page of a signed-in person.

import { ApiError, explain, read, send } from '../api.js';
import * as cart from '../cart.js';
import { announce, h } from '../dom.js';
import { button, empty, field, fieldErrors, heading, linkButton, load, skeleton } from '../parts.js';
import { go, here } from '../router.js';
import * as session from '../session.js';

let reason = '';

/** To sign in, and back here afterwards. */
export function toSignIn(text) {
  reason = text;
  const now = here();
  return go(now.startsWith('/sign-') ? now : `/sign-in?next=${encodeURIComponent(now)}`, { replace: true });
}

/** Only a page of this shop. */
function next(ctx) {
  const to = ctx.query.get('next') ?? '/home';
  return /^\/(?![/\\])/.test(to) && !to.startsWith('/sign-') ? to : '/home';
}

const withNext = (ctx, path) => (ctx.query.get('next') ? `${path}?next=${encodeURIComponent(ctx.query.get('next'))}` : path);

async function enter(ctx, email, password) {
  session.begin(await send('POST', '/api/v1/sessions', { email, password }));
  cart.load().catch(() => { /* the cart page says so; what was kept here is merged then */ });
  announce('You are signed in.');
  await go(next(ctx), { replace: true });
}

function accountForm(ctx, { title, word, fields, submit, refused, other }) {
  const note = h('p.error', { role: 'alert', hidden: true });
  const say = (...text) => { note.replaceChildren(...text); note.hidden = false; };
  const go1 = h('button.button.first.wide', { type: 'submit' }, word);
  let busy = false;
  const form = h('form.account', { novalidate: true, method: 'post', onsubmit: async (event) => {
    event.preventDefault();
    if (busy) return;
    busy = true;
    go1.setAttribute('aria-disabled', 'true');
    note.hidden = true;
    for (const f of Object.values(fields)) f.say('');
    try {
      await submit(Object.fromEntries(Object.values(fields).map((f) => [f.input.name, f.input.value])), say);
    } catch (e) {
      if (!(e instanceof ApiError)) throw e;
      if (!refused(e, say) && !fieldErrors(e, fields)) say(explain(e, 'the sign-in service'));
    } finally {
      busy = false;
      go1.removeAttribute('aria-disabled');
    }
  } }, Object.values(fields).map((f) => f.node), note, go1);
  const told = reason;
  reason = '';
  ctx.title(title);
  ctx.render(h('section.narrow', heading(title, told ? h('p.note', { role: 'status' }, told) : null), form, h('p.quiet', other)));
}

const email = () => field({ name: 'email', label: 'Email', type: 'email', autocomplete: 'email', maxlength: 254, wrong: 'Please give an email address, such as ann@example.org.' });

export async function signIn(ctx) {
  if (session.signedIn()) return go(next(ctx), { replace: true });
  const fields = { '/email': email(), '/password': field({ name: 'password', label: 'Password', type: 'password', autocomplete: 'current-password', maxlength: 200 }) };
  accountForm(ctx, { title: 'Sign in', word: 'Sign in', fields,
    submit: (v) => enter(ctx, v.email.trim(), v.password),
    refused: (e, say) => {
      if (e.status !== 401) return false;
      say('This email and password do not belong together.');
      fields['/password'].input.focus();
      return true;
    },
    other: ['New here? ', h('a', { href: withNext(ctx, '/sign-up') }, 'Make an account')] });
  return undefined;
}

export async function signUp(ctx) {
  if (session.signedIn()) return go(next(ctx), { replace: true });
  const fields = { '/name': field({ name: 'name', label: 'Name', type: 'text', autocomplete: 'name', maxlength: 200, wrong: 'Please give your name.' }), '/email': email(),
    '/password': field({ name: 'password', label: 'Password', type: 'password', hint: 'At least 10 characters.', autocomplete: 'new-password', maxlength: 200 }) };
  let made = null;
  accountForm(ctx, { title: 'Make an account', word: 'Make the account', fields,
    submit: async (v) => {
      const address = v.email.trim();
      if (made !== address) await send('POST', '/api/v1/users', { name: v.name.trim(), email: address, password: v.password });
      made = address; // when signing in fails now, the next click only signs in
      await enter(ctx, address, v.password);
    },
    refused: (e, say) => {
      if (made !== null && e.status !== 401 && e.passing) say('Your account is made, but signing in did not work yet. Please try again.');
      else if (e.status === 409) {
        fields['/email'].say('An account with this email exists already.');
        fields['/email'].input.focus();
      } else return false;
      return true;
    },
    other: ['Have one? ', h('a', { href: withNext(ctx, '/sign-in') }, 'Sign in')] });
  return undefined;
}

const listOf = (part) => (Array.isArray(part) ? part : Array.isArray(part?.items) ? part.items : null);

/** One part of what was composed; null is a part that did not answer in time. */
function part(title, list, item, kind, none, href, all, again) {
  return h('section', h('h2', title),
    list === null ? h('div.trouble', { role: 'status' }, h('p', 'This part did not answer just now. The rest of the page is complete.'), h('p.row', button('Try again', again)))
      : list.length ? [h(`ul.${kind}`, list.slice(0, 5).map(item)), h('p.row', linkButton(all, href))] : empty(title === 'Latest news' ? 'BELL' : 'BOX', none));
}

export async function home(ctx) {
  if (!session.signedIn()) return toSignIn('Please sign in to see your page.');
  const [{ orderCard }, { newsItem }] = await Promise.all([import('./orders.js'), import('./news.js')]);
  const title = h('h1', 'Welcome');
  const box = h('div');
  const out = button('Sign out', () => { session.end(); announce('You are signed out.'); go('/'); });
  ctx.title('Your page');
  ctx.render(h('header.head.between', title, out), box);
  const again = () => home(ctx);
  await load(ctx, box, { part: 'your page', bones: skeleton(3, 'orders'), fetch: (signal) => read('/api/v1/home', { signal }),
    show: ({ value }) => {
      if (value?.user?.name) title.textContent = `Welcome, ${value.user.name}`;
      return h('div.two', part('Latest orders', listOf(value?.orders), orderCard, 'orders', 'You have not ordered anything yet.', '/orders', 'All orders', again),
        part('Latest news', listOf(value?.notifications), newsItem, 'newslist', 'Nothing yet.', '/notifications', 'All news', again));
    },
    more: [() => linkButton('Your orders', '/orders'), () => linkButton('Your news', '/notifications')] });
  return undefined;
}
