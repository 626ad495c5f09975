// SPDX-License-Identifier: Apache-2.0
// Paying. Three ends: the order stands; nothing was stored, and the shop said so; or nobody knows yet, and then the same
// request with the same key is sent until somebody does. The card number lives in its field only.

import { ApiError, explain, send } from '../api.js';
import * as attempts from '../attempt.js';
import * as cart from '../cart.js';
import { announce, h, sleep } from '../dom.js';
import { kindly, money } from '../format.js';
import { button, empty, field, fieldErrors, heading, linkButton, load, price, skeleton } from '../parts.js';
import { go } from '../router.js';
import * as session from '../session.js';
import { totalOf } from './cart.js';
import { toSignIn } from './account.js';

const ASK_MS_MAX = 10000, SLOW_MS = 4000;
const cards = [
  ['4242 4242 4242 4242', 'is charged'],
  ['4000 0000 0000 0341', 'is charged after three seconds'],
  ['4000 0000 0000 0119', 'fails twice at the bank, then is charged'],
  ['4000 0000 0000 0002', 'is declined'],
  ['4000 0000 0000 9995', 'is declined: insufficient funds'],
];

function cardHelp(input) {
  return h('details.help', h('summary', 'Test cards'),
    h('p.quiet', 'This is a reference shop with a bank of its own. No real card is charged, so please do not type one.'),
    h('ul', cards.map(([number, what]) => h('li', button(number, () => { input.value = number; input.focus(); }, 'plain'), h('span', what)))));
}

/** The shop itself said that this key has had no effect, and why. */
const certain = (e) => e.status === 400 || e.status === 413 || (e.status === 422 && e.code !== 'idempotency_key_reused') || (e.status === 503 && e.code === 'try_again');

function overview(lines) {
  return h('section.sum', { 'aria-label': 'What you order' },
    h('ul.short', lines.map((l) => h('li', h('span', `${l.quantity} × ${l.name ? kindly(l.name) : 'item'}`), price({ ...l.price, amount: (l.price?.amount ?? NaN) * l.quantity })))),
    Number.isFinite(totalOf(lines).amount) ? h('p.row', h('span', 'Total'), price(totalOf(lines), 'price.big')) : null);
}

function form(ctx, lines) {
  const pending = attempts.current()?.open ? attempts.current() : null;
  const total = totalOf(lines);
  const card = field({ name: 'card', label: 'Card number', type: 'text', inputmode: 'numeric', autocomplete: 'cc-number', maxlength: 23, spellcheck: 'false',
    wrong: 'This is no card number. Please look at its digits again.' });
  const place = h('button.button.first.wide', { type: 'submit' }, pending ? 'Finish this order' : `Place order · ${money(total)}`);
  const state = h('div.state', { role: 'status' });
  let busy = false;
  let stopAsking = null;

  const say = (kind, ...nodes) => state.replaceChildren(h(`div.note.${kind}`, nodes));

  function setBusy(on, text) {
    busy = on;
    if (on) place.setAttribute('aria-disabled', 'true');
    else place.removeAttribute('aria-disabled');
    card.input.readOnly = on;
    if (text) place.textContent = text;
  }

  function placed(order) {
    attempts.forget();
    cart.emptied();
    announce('Your order was placed.');
    go(`/orders/${encodeURIComponent(order.id)}`, { replace: true });
  }

  function notPlaced(e) {
    if (fieldErrors(e, { '/payment/card_number': card })) say('bad', h('p', 'Your order was not placed and your card was not charged.'));
    else if (e.status === 503) say('bad', h('p', 'Your order was not placed and your card was not charged: we cannot reach all of the shop at the moment. Please try again; it stays one order, however often you try.'));
    else say('bad', h('p', `Your order was not placed: ${explain(e, 'the shop')}`), h('p', h('a', { href: '/cart' }, 'Change the cart')));
    if (!card.input.getAttribute('aria-invalid')) place.focus();
  }

  function unknown(e) {
    const wait = h('span');
    say('warn',
      h('p', e.status === 503
        ? 'We cannot reach the order service. Your order was most likely not placed. We keep asking with the same key, so it can be placed once and not twice.'
        : 'We do not know yet whether your order was placed. We keep asking with the same key, so it can be placed once and not twice.'),
      h('p.row', button('Ask now', () => stopAsking?.('now')), button('Stop asking', () => stopAsking?.('stop'))), wait);
  }

  function stopped() {
    say('warn', h('p', 'We stopped asking and do not know whether your order was placed. Look at your orders, or ask again: it stays one order.'),
      h('p.row', linkButton('Look at your orders', '/orders'), button('Give this order up', () => { attempts.forget(); go('/checkout', { replace: true }); })));
  }

  /** 'again', or 'stop' when the person says so. */
  async function pause(e, round) {
    unknown(e);
    let answer = 'again';
    const ms = e.retryAfterS !== null ? e.retryAfterS * 1000 : 1000 * 2 ** round;
    await sleep(Math.min(ASK_MS_MAX, ms), ctx.signal, (done) => { stopAsking = (what) => { if (what === 'stop') answer = 'stop'; done(); }; });
    return answer;
  }

  async function ask(payment) {
    let attempt = attempts.begin(lines);
    for (let round = 0; ; round++) {
      attempt = attempts.sent(attempt);
      const slow = setTimeout(() => say('warn', h('p', 'This takes longer than usual. We keep waiting for the order service; please keep this page open.')), SLOW_MS);
      try {
        const order = await send('POST', '/api/v1/orders', { items: attempt.items, payment }, { key: attempt.key, signal: ctx.signal });
        if (!order?.id) throw new ApiError(0);
        return placed(order);
      } catch (e) {
        if (!(e instanceof ApiError)) throw e; // the page was left; the attempt stays open
        clearTimeout(slow);
        if (e.status === 401) return undefined; // to sign in and back; the attempt stays
        if (e.status === 422 && e.code === 'idempotency_key_reused') {
          attempts.forget();
          return say('warn', h('p', 'This order was placed before, with the card you gave then.'), h('p.row', linkButton('Look at your orders', '/orders', 'first')));
        }
        if (certain(e) || (e.status > 0 && e.status < 500 && !e.passing && e.status !== 409)) { attempts.refused(attempt); return notPlaced(e); }
        setBusy(true, 'Asking…');
        if (await pause(e, round) === 'stop') return stopped();
      } finally {
        clearTimeout(slow);
      }
    }
  }

  async function submit(event) {
    event.preventDefault();
    if (busy) return;
    card.say('');
    const number = card.input.value.replace(/[\s-]/g, '');
    if (!number) { card.say('Please give a card number.'); card.input.focus(); return; }
    setBusy(true, 'Placing your order…');
    state.replaceChildren();
    try {
      await ask({ card_number: number });
    } catch (e) {
      if (ctx.alive) say('bad', h('p', explain(e, 'the order service')));
    } finally {
      if (ctx.alive) setBusy(false, attempts.current()?.open ? 'Ask again' : `Place order · ${money(total)}`);
    }
  }

  return h('div.two',
    h('form.pay', { onsubmit: submit, novalidate: true, method: 'post' },
      pending ? h('div.note.warn', h('p', 'We do not know whether your last order was placed. Give the same card once more and we ask with the same key: it is placed once and not twice.'),
        h('p.row', linkButton('Look at your orders', '/orders'), button('Give this order up', () => { attempts.forget(); go('/checkout', { replace: true }); }))) : null,
      card.node, cardHelp(card.input), place, state),
    overview(lines));
}

export default async function checkout(ctx) {
  if (!session.signedIn()) return toSignIn('Please sign in to order. Your cart comes with you.');
  const box = h('div');
  ctx.title('Checkout');
  ctx.render(heading('Checkout'), box);
  const fetch = async (signal) => {
    const open = attempts.current();
    // What is open is asked for as it was sent, whatever the cart holds now.
    return open?.open ? open.lines : cart.load(signal);
  };
  await load(ctx, box, { part: 'the cart', bones: skeleton(3, 'lines'), fetch,
    show: (lines) => (lines.length ? form(ctx, lines) : empty('SHOPPER BAG', 'There is nothing in your cart to order.', h('p.row', linkButton('Find something nice', '/', 'first')))) });
  return undefined;
}

