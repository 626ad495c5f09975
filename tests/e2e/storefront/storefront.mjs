// SPDX-License-Identifier: Apache-2.0
// A person shops. Run by run.py, which starts the shop and says where it is. Each test is a browser of its own; none
// may leave an error on the console, break the content security policy, or ask another host for anything.

import { readFileSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import process from 'node:process';
import { api, assert, axe, base, count, customer, DECLINED, devices, ended, ficus, freeze, GOOD, launch, ordersOf, PASSWORD, person, pid, placeOrder,
  putProduct, settled, SLOW, test, until } from './lib.mjs';

const option = (name) => (process.argv.includes(name) ? process.argv[process.argv.indexOf(name) + 1] : null);
const only = option('--only'), pictures = option('--pictures');
const browser = await launch();

async function admin() {
  const { email, password } = JSON.parse(readFileSync(join(process.env.FICUS_STATE, 'admin.json'), 'utf8'));
  return api('POST', '/api/v1/sessions', { body: { email, password } });
}

const staff = await admin();
const EVIL = '<img src=x onerror=alert(1)>Zebu lamp';
const lantern = await putProduct(staff, 'T-LANTERN', 'ZEBU GARDEN LANTERN', 1275, 100000);
const evil = await putProduct(staff, 'T-EVIL', EVIL, 499, 100000);
const scarce = await putProduct(staff, 'T-SCARCE', 'SET OF 3 ZEBU CAKE TINS', 899, 2);
const item = (product, quantity = 1) => ({ product_id: product.id, quantity });

async function with_(options, run) {
  const p = await person(browser, options);
  try {
    await run(p.page, p);
    assert(p.wrong.length === 0, p.wrong.join('\n'));
  } catch (e) {
    const text = await p.page.evaluate(() => `${location.href}\n${document.querySelector('main')?.innerText.slice(0, 600)}`).catch(() => '');
    throw new Error(`${e.message}\n${p.wrong.join('\n')}\non the page: ${text}\n${e.stack}`);
  } finally {
    await p.context.close();
  }
}

const check = (name, options, run) => test(name, only, () => with_(options, run));
/** The same with somebody signed in. */
const own = (name, options, run) => test(name, only, async () => {
  const who = await customer();
  await with_({ ...options, who }, (page, p) => run(page, who, p));
});

const title = (page, text) => page.waitForSelector(`.status .title:text-is("${text}")`);
const main = (page) => page.locator('main').innerText();

async function toCheckout(page, who, lines, card) {
  await api('PUT', '/api/v1/cart', { token: who.token, body: { items: lines } });
  await page.goto(`${base}/checkout`);
  await settled(page);
  if (card) await page.fill('#f-card', card);
}

/** The Idempotency-Keys that the page sends with its orders. */
function keysOf(page) {
  const keys = [];
  page.on('request', (r) => {
    if (r.method() === 'POST' && new URL(r.url()).pathname === '/api/v1/orders') keys.push(r.headers()['idempotency-key']);
  });
  return keys;
}

async function shop() {
  await check('sign-up: what is wrong is said at its field', { failing: true }, async (page, p) => {
    await p.open('/sign-up');
    await page.click('button[type=submit]');
    await page.waitForSelector('#f-name[aria-invalid=true]');
    assert(await page.evaluate(() => document.activeElement.id) === 'f-name', 'of three wrong fields the first on the page has the focus');
    await page.fill('#f-name', 'Grace');
    await page.fill('#f-email', 'not an address');
    await page.fill('#f-password', 'short');
    await page.click('button[type=submit]');
    await page.waitForSelector('#f-email[aria-invalid=true]');
    assert(/10 to 200/.test(await page.innerText('#f-password-error')), 'the password’s error is missing');
    const said = await page.innerText('#f-email-error');
    assert(/an email address, such as/.test(said) && !/bytes/.test(said), `the email’s error is for people, not "${said}"`);
    assert(!await page.isVisible('#f-name-error'), 'the name was right');
    assert(await page.evaluate(() => document.activeElement.id) === 'f-email', 'the first wrong field has the focus');
    const taken = await customer();
    await page.fill('#f-email', taken.email);
    await page.fill('#f-password', PASSWORD);
    await page.click('button[type=submit]');
    await page.waitForSelector('#f-email-error:has-text("exists already")');
    await page.fill('#f-email', `new${process.pid}@example.org`);
    await page.click('button[type=submit]');
    await page.waitForSelector('h1:has-text("Welcome, Grace")');
    assert(!/token|eyJ/.test(page.url()), 'no token in the URL');
  });

  await check('somebody searches, buys, and sees it confirmed live', { failing: true }, async (page, p) => {
    const who = await customer();
    await until('the search to know the lantern', async () => (await api('GET', '/api/v1/search?q=zebu%20lantern')).items.some((i) => i.id === lantern.id));
    await p.open('/');
    await page.type('#q', 'zebu gard', { delay: 15 });
    await page.click('.card a:has-text("Zebu Garden Lantern")');
    await page.waitForSelector('h1:has-text("Zebu Garden Lantern")');
    assert((await main(page)).includes('ZEBU GARDEN LANTERN'), 'the name as it is in the data is shown too');
    await page.click('button:has-text("Add to cart")');
    await page.click('button[aria-label^="One more"]');
    await page.click('button:has-text("Add to cart")');
    await until('three in the header', async () => (await page.innerText('#cart-count')).startsWith('3'));
    await page.click('.after a');
    await page.click('a:has-text("To the checkout")');
    await page.waitForSelector('h1:has-text("Sign in")');
    await page.fill('#f-email', who.email);
    await page.fill('#f-password', PASSWORD);
    await page.click('button[type=submit]');
    await page.waitForSelector('h1:has-text("Checkout")');
    assert((await page.innerText('.sum')).includes('3 × Zebu Garden Lantern'), 'the cart came along');
    await page.click('summary');
    await page.click('button:has-text("0341")');
    await page.click('button[type=submit]');
    await title(page, 'Processing…');
    await page.evaluate(() => { window.sameDocument = true; });
    await title(page, 'Confirmed');
    assert(await page.evaluate(() => window.sameDocument), 'live, not by a reload');
    assert((await main(page)).includes('£38.25'), 'the total');
    assert(await page.locator('.history li').count() === 2, 'two entries of history');
    await until('an unread one in the header', async () => (await page.innerText('#news-count').catch(() => '')).startsWith('1'));
    await page.click('#to-news');
    await page.click('button:has-text("Mark as read")');
    await page.waitForSelector('#news-count', { state: 'hidden' });
    const news = await api('GET', '/api/v1/notifications', { token: (await api('POST', '/api/v1/sessions', { body: { email: who.email, password: PASSWORD } })).token });
    assert(news.unread === 0, 'the server knows that it was read');
    await page.click('#to-cart');
    await page.waitForSelector('text=Your cart is empty');
    await page.click('#to-account');
    await page.waitForSelector('.order');
    await page.click('button:has-text("Sign out")');
    await page.waitForSelector('#account-word:has-text("Sign in")');
    assert(await page.evaluate(() => localStorage.getItem('ficus.session')) === null, 'nothing of the session is left');
  });

  await own('another tab signs out and somebody else in: nothing of the first one stays', {}, async (page, who) => {
    const other = await customer('Grace Moss');
    await toCheckout(page, who, [item(lantern)], GOOD);
    const tab = await page.context().newPage();
    await tab.goto(`${base}/home`);
    await tab.click('button:has-text("Sign out")');
    await page.waitForSelector('h1:has-text("Sign in")');
    await tab.goto(`${base}/sign-in`);
    await tab.fill('#f-email', other.email);
    await tab.fill('#f-password', PASSWORD);
    await tab.click('button[type=submit]');
    await tab.waitForSelector('h1:has-text("Welcome, Grace Moss")');
    await page.goto(`${base}/orders`);
    assert(!(await main(page)).includes('Zebu'), 'no order of the first one');
    assert((await ordersOf(who)).length === 0 && (await ordersOf(other)).length === 0, 'nobody ordered');
    await tab.close();
  });

  await own('a declined card is explained, and another may be tried', {}, async (page, who) => {
    await toCheckout(page, who, [item(lantern)], DECLINED);
    await page.click('button[type=submit]');
    await title(page, 'Cancelled');
    assert((await main(page)).includes('The bank declined the card. Nothing was charged.'), 'why, and what of the money');
    await page.click('button:has-text("Put these into your cart")');
    await page.click('text=To the checkout');
    await page.fill('#f-card', GOOD);
    await page.click('button[type=submit]');
    await title(page, 'Confirmed');
  });

  await own('a number that is no card is said at its field, and may be corrected', { failing: true }, async (page, who) => {
    const keys = keysOf(page);
    await toCheckout(page, who, [item(lantern)], '4242424242424241');
    await page.click('button[type=submit]');
    await page.waitForSelector('#f-card[aria-invalid=true]');
    assert((await main(page)).includes('was not placed and your card was not charged'), 'what is true');
    await page.fill('#f-card', '4242 4242 4242 4242');
    await page.click('button[type=submit]');
    await title(page, 'Confirmed');
    assert(new Set(keys).size === 1 && keys.length === 2, 'one key for the attempt');
  });

  await own('more than there is: out of stock is explained', {}, async (page, who) => {
    await api('PUT', '/api/v1/cart', { token: who.token, body: { items: [item(scarce, 3)] } });
    await page.goto(`${base}/cart`);
    await page.waitForSelector('text=Only 2 left');
    await toCheckout(page, who, [item(scarce, 3)], GOOD);
    await page.click('button[type=submit]');
    await title(page, 'Cancelled');
    assert((await main(page)).includes('out of stock. Nothing was charged.'), 'why');
  });

  await own('a cancelled order shows its refund', {}, async (page, who, p) => {
    const order = await placeOrder(who, [item(lantern, 2)]);
    await ended(who, order.id);
    await p.open(`/orders/${order.id}`);
    await title(page, 'Confirmed');
    await page.click('button:has-text("Cancel this order")');
    await page.click('dialog button:has-text("Keep it")');
    assert(await page.isVisible('button:has-text("Cancel this order")'), 'kept');
    await page.click('button:has-text("Cancel this order")');
    await page.click('dialog button:has-text("Cancel the order")');
    await title(page, 'Cancelled');
    assert((await main(page)).includes('You cancelled it. £25.50 went back to your card.'), 'the refund');
    assert(await page.locator('.history li').count() === 3, 'three entries of history');
  });

  await own('double click on Place order: one order', {}, async (page, who) => {
    await toCheckout(page, who, [item(lantern)], GOOD);
    await page.dblclick('button[type=submit]');
    await title(page, 'Confirmed');
    assert((await ordersOf(who)).length === 1, 'one order');
  });

  await check('by keyboard alone', { failing: true }, async (page, p) => {
    const who = await customer();
    const tabTo = async (what) => {
      for (let i = 0; i < 80; i++) {
        await page.keyboard.press('Tab');
        const at = await page.evaluate(() => { const e = document.activeElement; return e.id || e.getAttribute('aria-label') || e.innerText || ''; });
        if (at.includes(what)) {
          assert(await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle !== 'none'), `the focus on ${what} is visible`);
          return;
        }
      }
      throw new Error(`the Tab key does not come to ${what}`);
    };
    const focused = (text) => until(`the focus on ${text}`,
      () => page.evaluate((t) => document.activeElement?.matches('h1') && document.activeElement.innerText.includes(t), text).catch(() => false));
    await p.open('/');
    await page.keyboard.press('Tab');
    assert(await page.evaluate(() => document.activeElement.className) === 'skip', 'the skip link is first');
    await page.keyboard.press('Enter');
    assert(await page.evaluate(() => document.activeElement.id) === 'main', 'it leads to the content');
    await page.keyboard.press('Shift+Tab');
    await page.focus('#q');
    await page.keyboard.type('zebu garden');
    await page.keyboard.press('Enter');
    await focused('zebu garden');
    await page.waitForSelector('.card');
    await tabTo('Zebu Garden Lantern');
    await page.keyboard.press('Enter');
    await focused('Zebu Garden Lantern');
    await tabTo('Add to cart');
    await page.keyboard.press('Enter');
    await page.waitForSelector('.after a');
    await tabTo('See the cart');
    await page.keyboard.press('Enter');
    await focused('Your cart');
    await page.waitForSelector('.line');
    await tabTo('One more');
    await page.keyboard.press('Enter');
    await until('two', async () => await page.inputValue('.line input') === '2');
    await tabTo('To the checkout');
    await page.keyboard.press('Enter');
    await focused('Sign in');
    await tabTo('f-email');
    await page.keyboard.type(who.email);
    await tabTo('f-password');
    await page.keyboard.type(PASSWORD);
    await page.keyboard.press('Enter');
    await focused('Checkout');
    await page.waitForSelector('#f-card');
    await tabTo('f-card');
    await page.keyboard.type(GOOD);
    await page.keyboard.press('Enter');
    await focused('Your order');
    await title(page, 'Confirmed');
    await tabTo('Cancel this order');
    await page.keyboard.press('Enter');
    await page.waitForSelector('dialog[open]');
    await page.keyboard.press('Escape');
    assert(!(await ordersOf(who))[0].history.some((e) => e.status === 'cancelled'), 'Escape keeps the order');
  });

  await own('a name with markup in it stays text', {}, async (page, who, p) => {
    page.on('dialog', () => { throw new Error('the name was run'); });
    const order = await placeOrder(who, [item(evil)]);
    await api('PUT', '/api/v1/cart', { token: who.token, body: { items: [item(evil)] } });
    for (const path of [`/products/${evil.id}`, '/cart', '/checkout', `/orders/${order.id}`, '/orders', '/?q=zebu']) {
      await p.open(path);
      await page.waitForSelector(`main :text("onerror")`);
      assert((await main(page)).includes(EVIL), `${path} shows the name as it is`);
      assert(await page.locator('main img').count() === 0, `${path} made no element of it`);
    }
  });

  await check('paging keeps its place on the way back', {}, async (page, p) => {
    const cards = (n) => until(`${n} products`, async () => await page.locator('.card').count() === n);
    await p.open('/');
    for (const n of [48, 72]) {
      await page.click('button:has-text("Show more")');
      await cards(n);
    }
    const card = page.locator('.card a').nth(60);
    await card.scrollIntoViewIfNeeded();
    const y = await page.evaluate(() => scrollY);
    assert(y > 500, 'far down');
    await card.click();
    await page.waitForSelector('.about h1');
    assert(await page.evaluate(() => scrollY) === 0, 'a new page begins at its top');
    await page.goBack();
    await cards(72);
    await until('the place', async () => Math.abs(await page.evaluate(() => scrollY) - y) < 5);
    await page.reload();
    await cards(72);
    await until('the place after a reload', async () => Math.abs(await page.evaluate(() => scrollY) - y) < 5);
  });

  await check('a late answer of an older search is dropped', {}, async (page, p) => {
    await page.route('**/api/v1/search?q=christmas*', async (route) => { await new Promise((r) => { setTimeout(r, 1500); }); await route.continue().catch(() => {}); });
    await p.open('/');
    await page.fill('#q', 'christmas');
    await page.waitForRequest(/q=christmas/);
    await page.fill('#q', 'lantern');
    await page.waitForSelector('h1:has-text("lantern")');
    await page.waitForSelector('.card');
    await page.waitForTimeout(2000); // the older one would be there by now
    assert((await page.innerText('h1')).includes('lantern') && new URL(page.url()).search === '?q=lantern', 'the newest search stands');
    await page.goBack();
    await page.waitForSelector('.hero');
    assert(await page.inputValue('#q') === '' || await page.evaluate(() => document.activeElement.id === 'q'), 'the field follows the page');
  });

  await check('a refused token leads to sign-in and back', { failing: true }, async (page, p) => {
    const who = await customer();
    await p.open('/');
    const spoil = () => page.evaluate(() => localStorage.setItem('ficus.session', JSON.stringify({ token: 'a.b.c', until: Date.now() + 1e6 })));
    await spoil();
    await p.open(`/products/${lantern.id}`);
    await page.waitForSelector('#account-word:has-text("Sign in")');
    assert(await page.isVisible('button:has-text("Add to cart")'), 'what is for anyone stays');
    await spoil();
    await p.open('/orders?status=confirmed');
    await page.waitForSelector('.note:has-text("session has ended")');
    await page.fill('#f-email', who.email);
    await page.fill('#f-password', PASSWORD);
    await page.click('button[type=submit]');
    await page.waitForSelector('h1:has-text("Your orders")');
    assert(page.url() === `${base}/orders?status=confirmed`, 'back where one was');
  });

  await check('nothing there: 404', { failing: true }, async (page, p) => {
    for (const path of ['/no/such/page', '/products/no-such-product']) {
      await p.open(path);
      await page.waitForSelector('h1:has-text("flown")');
    }
  });
}

async function failures() {
  await own('the order page survives a killed gateway', { failing: true }, async (page, who, p) => {
    const thaw = freeze('inventory'); // the order stays pending
    try {
      const order = await placeOrder(who, [item(lantern)]);
      const resumed = [];
      page.on('request', (r) => { if (r.url().endsWith('/events')) resumed.push(r.headers()['last-event-id']); });
      await page.addInitScript(() => {
        window.said = [];
        new MutationObserver(() => {
          const now = document.querySelector('.status .title')?.textContent;
          if (now && window.said.at(-1) !== now) window.said.push(now);
        }).observe(document, { subtree: true, childList: true, characterData: true });
      });
      await p.open(`/orders/${order.id}`);
      await until('the stream', () => resumed.length === 1);
      const lost = page.waitForSelector('.link:not([hidden])');
      ficus('stop', '--kill', 'gateway'); // kill -9; one that is just killed may be back before a page can say so
      await lost;
      assert((await page.innerText('.link')).includes('Reconnecting'), 'it says so');
      assert(await page.innerText('.status .title') === 'Processing…', 'and what it knew last');
      ficus('start', 'gateway');
      await page.waitForSelector('.link', { state: 'hidden' });
      assert(resumed.length >= 2 && resumed.at(-1) === '0', `it asked with Last-Event-ID: ${resumed}`);
      thaw();
      await title(page, 'Confirmed');
      assert((await page.evaluate(() => window.said)).join() === 'Processing…,Confirmed', 'and nothing else was ever shown');
    } finally {
      thaw();
    }
  });

  await own('an order service that dies while its page is open', { failing: true }, async (page, who, p) => {
    const thaw = freeze('inventory'); // the order stays pending
    try {
      const order = await placeOrder(who, [item(lantern)]);
      await p.open(`/orders/${order.id}`);
      await title(page, 'Processing…');
      // It stays away: the gateway waits for one that is back at once, and the page would have nothing to say.
      ficus('stop', 'orders', '--kill');
      await page.waitForSelector('.link:not([hidden])');
      assert(await page.innerText('.status .title') === 'Processing…', 'what it knew last');
      ficus('start', 'orders');
      thaw();
      await title(page, 'Confirmed');
      await page.waitForSelector('.link', { state: 'hidden' });
    } finally {
      ficus('start', 'orders');
      thaw();
    }
  });

  await own('payments frozen: not placed, not charged, and the same key again', { failing: true }, async (page, who) => {
    const keys = keysOf(page);
    await toCheckout(page, who, [item(lantern)], GOOD);
    const thaw = freeze('payments');
    try {
      await page.click('button[type=submit]');
      await page.waitForSelector('.note.bad:has-text("was not placed and your card was not charged")', { timeout: 30000 });
      assert((await ordersOf(who)).length === 0, 'that is true');
    } finally {
      thaw();
    }
    await page.click('button[type=submit]');
    await title(page, 'Confirmed');
    assert(new Set(keys).size === 1, 'one key');
    assert((await ordersOf(who)).length === 1, 'one order');
  });

  await own('orders stopped: says that it waits, and one order comes of it', { failing: true }, async (page, who) => {
    const keys = keysOf(page);
    await toCheckout(page, who, [item(lantern)], GOOD);
    ficus('stop', 'orders');
    try {
      await page.click('button[type=submit]');
      await page.locator('.note.warn', { hasText: /takes longer than usual|most likely not placed/ }).waitFor();
    } finally {
      ficus('start', 'orders');
    }
    await title(page, 'Confirmed');
    assert(new Set(keys).size === 1, 'one key');
    assert((await ordersOf(who)).length === 1, 'one order');
  });

  await own('a lost answer: we do not know yet, and nobody pays twice, also over a reload', { failing: true }, async (page, who) => {
    const keys = keysOf(page);
    await toCheckout(page, who, [item(lantern)], GOOD);
    let lost = 0;
    await page.route('**/api/v1/orders', async (route) => {
      if (route.request().method() !== 'POST') return route.continue();
      lost++;
      await route.fetch().catch(() => {});
      return route.abort().catch(() => {});
    });
    await page.click('button[type=submit]');
    await page.waitForSelector('.note.warn:has-text("do not know yet whether your order was placed")');
    assert((await ordersOf(who)).length === 1, 'it was');
    await until('a second try', () => lost >= 2);
    await page.reload();
    await settled(page);
    await page.waitForSelector('.note.warn:has-text("do not know whether your last order was placed")');
    await page.unroute('**/api/v1/orders');
    await page.fill('#f-card', GOOD);
    await page.click('button[type=submit]');
    await title(page, 'Confirmed');
    assert(new Set(keys).size === 1, 'one key');
    assert((await ordersOf(who)).length === 1, 'one order');
  });

  await own('search and notifications stopped or frozen: true words, the rest works', { failing: true }, async (page, who, p) => {
    for (const service of ['search', 'notifications']) ficus('stop', service);
    try {
      await p.open('/home');
      await page.waitForSelector('.trouble:has-text("did not answer")');
      await page.waitForSelector(':text("You have not ordered anything yet")');
      await page.fill('#q', 'lantern');
      await page.locator('.trouble', { hasText: /cannot reach the search|the search does not answer/ }).waitFor();
      await page.waitForSelector('.card'); // the whole range instead
      ficus('start', 'search');
      await page.click('.trouble button');
      await page.waitForSelector('h1:has-text("lantern") ~ p:has-text("match")');
      const thaw = freeze('search');
      try {
        await p.open('/'); // the range needs no search
        await page.fill('#q', 'bunting');
        await page.waitForSelector('.slow', { state: 'visible' });
      } finally {
        thaw();
      }
      await page.waitForSelector('h1:has-text("bunting") ~ p:has-text("match")');
    } finally {
      for (const service of ['search', 'notifications']) ficus('start', service);
    }
  });

  await own('cart and catalogue refused with 503: tried again quietly, then said', { failing: true }, async (page, who, p) => {
    await p.open(`/products/${lantern.id}`);
    let refused = 0;
    const problem = { status: 503, contentType: 'application/problem+json', headers: { 'Retry-After': '0' }, body: '{"status":503,"detail":"away","code":"unavailable"}' };
    const refuse = (route) => { refused++; return route.fulfill(problem); };
    await page.route('**/api/v1/cart', refuse);
    await page.click('button:has-text("Add to cart")');
    await page.waitForSelector('.after:has-text("It was not added")');
    await page.click('#to-cart');
    await page.waitForSelector('.trouble:has-text("We cannot reach the cart")');
    assert(refused > 4, 'reads were repeated');
    await page.unroute('**/api/v1/cart');
    await page.click('button:has-text("Try again")');
    await page.waitForSelector('text=Your cart is empty');
    await page.route('**/api/v1/products?*', (route) => (refused++ % 3 ? route.continue() : route.fulfill(problem)));
    await page.click('.mark');
    await page.waitForSelector('.card');
    assert(await page.locator('.trouble').count() === 0, 'one refusal is not worth a word');
  });

  await check('a service that answers garbage', { failing: true }, async (page, p) => {
    for (const body of ['<html>', '{"items":7}', '{"items":[{"id":1,"name":null,"price":"x"}],"next":null}']) {
      await page.route('**/api/v1/products?*', (route) => route.fulfill({ status: 200, contentType: 'application/json', body }));
      await p.open('/');
      await page.waitForSelector(body.includes('null') ? '.card' : '.trouble');
      await page.unroute('**/api/v1/products?*');
    }
  });
}

/** name to path, with the person who may see it. */
async function everyPage(who) {
  const items = (await api('GET', '/api/v1/products?limit=40')).items;
  const good = await placeOrder(who, items.slice(0, 6).map((p) => item(p, 2)));
  const bad = await placeOrder(who, [item(items[7])], DECLINED);
  const back = await placeOrder(who, [item(items[9], 3)]);
  for (const o of [good, bad, back]) await ended(who, o.id);
  await api('POST', `/api/v1/orders/${back.id}/cancel`, { token: who.token });
  await until('the cancel', async () => (await api('GET', `/api/v1/orders/${back.id}`, { token: who.token })).status === 'cancelled');
  await api('PUT', '/api/v1/cart', { token: who.token, body: { items: [item(items[2], 2), item(items[11]), item(scarce, 5), item(items[20], 12)] } });
  return {
    browse: '/', search: '/?q=christmas', 'search-nothing': '/?q=qqqqq', product: `/products/${items[0].id}`, cart: '/cart', checkout: '/checkout',
    order: `/orders/${good.id}`, 'order-declined': `/orders/${bad.id}`, 'order-refunded': `/orders/${back.id}`, orders: '/orders', news: '/notifications',
    home: '/home', missing: '/no/such/page', '*sign-in': '/sign-in', '*sign-up': '/sign-up', '*empty-cart': '/cart',
  };
}

async function looks() {
  const who = await customer('Ada Fern');
  const pages = await everyPage(who);
  for (const device of Object.keys(devices))
    for (const scheme of ['light', 'dark'])
      await test(`axe and layout: ${device}, ${scheme}`, only, async () => {
        for (const signedIn of [true, false])
          await with_({ device, scheme, who: signedIn ? who : null, failing: true }, async (page, p) => {
            for (const [name, path] of Object.entries(pages).filter(([n]) => n.startsWith('*') !== signedIn)) {
              await p.open(path);
              const violations = await axe(page);
              assert(violations.length === 0, `${path}:\n${violations.join('\n')}`);
              if (device === 'phone') await fits(page, name);
            }
          });
      });
}

/** At 360 px nothing sticks out, and what is to be touched is 44 px high. */
async function fits(page, name) {
  await page.setViewportSize({ width: 360, height: 740 });
  const found = await page.evaluate(() => ({
    wide: document.documentElement.scrollWidth > innerWidth ? [...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1).slice(0, 3).map((e) => e.outerHTML.slice(0, 90)) : [],
    low: [...document.querySelectorAll('button, .button, .tools a, .chips a, input, summary')].filter((e) => e.checkVisibility() && e.getBoundingClientRect().height < 43.5).map((e) => e.outerHTML.slice(0, 90)),
  }));
  assert(found.wide.length === 0, `${name} is wider than the phone: ${found.wide}`);
  assert(found.low.length === 0, `${name} has small targets: ${found.low}`);
  await page.setViewportSize(devices.phone);
}

async function takePictures(folder) {
  mkdirSync(folder, { recursive: true });
  const who = await customer('Ada Fern');
  const pages = await everyPage(who);
  for (const device of Object.keys(devices))
    for (const scheme of ['light', 'dark'])
      for (const signedIn of [true, false])
        await with_({ device, scheme, who: signedIn ? who : null, failing: true }, async (page, p) => {
          for (const [name, path] of Object.entries(pages).filter(([n]) => n.startsWith('*') !== signedIn)) {
            await p.open(path);
            if (name === 'product' || name === 'cart') await page.waitForTimeout(500); // what comes later
            await page.screenshot({ path: join(folder, `${name.replace('*', '')}-${device}-${scheme}.png`) });
          }
        });
}

try {
  if (pictures) {
    await takePictures(pictures);
  } else {
    await shop();
    await failures();
    if (!only || 'axe and layout'.includes(only.split(' ')[0])) await looks();
    process.exitCode = count();
  }
} finally {
  await browser.close();
}
