// SPDX-License-Identifier: Apache-2.0
// What the tests of the storefront stand on: the shop's processes, its API, people with browsers, and the counting.

import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import process from 'node:process';

const require = createRequire(process.env.NODE_MODULES);
const { chromium } = require('playwright-core');
const AXE = require.resolve('axe-core/axe.min.js');

export const base = process.env.SHOP_URL;
export const GOOD = '4242424242424242', DECLINED = '4000000000000002', SLOW = '4000000000000341';
export const devices = { desktop: { width: 1280, height: 800 }, phone: { width: 390, height: 844 } };

export function assert(condition, text) {
  if (!condition) throw new Error(text);
}

/** The first true value; fails when it does not come. */
export async function until(what, condition, seconds = 20) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert(Date.now() < end, `waited ${seconds} s in vain for ${what}`);
    await new Promise((resolve) => { setTimeout(resolve, 50); });
  }
}

// ---- the shop's processes ----

export function ficus(...args) {
  return execFileSync(process.env.SHOP_FICUS, [...args, '-f', process.env.SHOP_MANIFEST], { encoding: 'utf8' });
}

export function pid(name) {
  const status = JSON.parse(ficus('status', '--json'));
  if (name === 'gateway' || name === 'hub') return status[name].pid;
  return status.services.find((s) => s.name === name).instances[0].pid;
}

/** Frozen, not dead: its callers wait in vain. Returns how to thaw it. */
export function freeze(name) {
  const id = pid(name);
  process.kill(id, 'SIGSTOP');
  return () => process.kill(id, 'SIGCONT');
}

// ---- its API ----

export async function api(method, path, { body, token, key } = {}) {
  const headers = { Accept: 'application/json' };
  if (body) headers['Content-Type'] = 'application/json';
  if (token) headers.Authorization = `Bearer ${token}`;
  if (key) headers['Idempotency-Key'] = key;
  const answer = await fetch(base + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  assert(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

export const PASSWORD = 'a good password';
let people = 0;

/** Registered and signed in. */
export async function customer(name = 'Ada Fern') {
  const email = `person${++people}.${process.pid}@example.org`;
  await api('POST', '/api/v1/users', { body: { email, name, password: PASSWORD } });
  const session = await api('POST', '/api/v1/sessions', { body: { email, password: PASSWORD } });
  return { email, name, ...session };
}

export const ordersOf = async (who) => (await api('GET', '/api/v1/orders?limit=100', { token: who.token })).items;

export async function placeOrder(who, items, card = GOOD) {
  const body = { items, payment: { card_number: card } };
  return api('POST', '/api/v1/orders', { body, token: who.token, key: Math.random().toString(36) });
}

export const ended = (who, id) => until(`the end of order ${id}`, async () => {
  const order = await api('GET', `/api/v1/orders/${id}`, { token: who.token });
  return order.status !== 'pending' && order;
});

export async function putProduct(admin, sku, name, amount, onHand) {
  const path = encodeURIComponent(sku);
  const product = await api('PUT', `/api/v1/products/${path}`, { token: admin.token, body: { name, price: { amount, currency: 'GBP' } } });
  await api('PUT', `/api/v1/stock/${path}`, { token: admin.token, body: { on_hand: onHand } });
  return product;
}

// ---- people with browsers ----

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-gpu', '--disable-quic',
  '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'] });

/**
 * A page, and what went wrong on it: errors on the console, violations of the content security policy, requests to
 * other hosts, tokens in URLs. With `failing` the browser's own lines on failed requests are no error.
 */
export async function person(browser, { device = 'desktop', scheme = 'light', who = null, failing = false, viewport } = {}) {
  const context = await browser.newContext({ viewport: viewport ?? devices[device], colorScheme: scheme, locale: 'en-GB', timezoneId: 'Europe/London',
    isMobile: device === 'phone', hasTouch: device === 'phone', reducedMotion: 'reduce' });
  context.setDefaultTimeout(60000); // so that a disk that is busy with something else is no failure
  const wrong = [];
  await context.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (e) => console.error(`CSP: ${e.violatedDirective} ${e.blockedURI}`));
  });
  if (who) await context.addInitScript((s) => {
    if (sessionStorage.getItem('test.seeded')) return;
    sessionStorage.setItem('test.seeded', '1');
    localStorage.setItem('ficus.session', JSON.stringify({ token: s.token, until: Date.now() + 3600000 }));
  }, who);
  const page = await context.newPage();
  page.on('console', (m) => {
    if (['error', 'warning'].includes(m.type()) && !(failing && /Failed to load resource|net::ERR_/.test(m.text()))) wrong.push(`console: ${m.text()}`);
  });
  page.on('pageerror', (e) => wrong.push(`page: ${e.stack}`));
  page.on('request', (r) => {
    const url = new URL(r.url());
    if (url.origin !== base && !r.url().startsWith('data:')) wrong.push(`request to ${r.url()}`);
    if (/eyJ|token=/.test(r.url())) wrong.push(`token in ${r.url()}`);
  });
  return { page, context, wrong, open: async (path) => { await page.goto(base + path); await settled(page); } };
}

export async function settled(page) {
  await page.waitForSelector('main:not([aria-busy]) h1', { state: 'attached' });
  await until('the end of loading', () => page.evaluate(() => !document.querySelector('main [aria-busy=true]')));
}

export async function axe(page) {
  // Not by a script element, which would be against the page's policy.
  const cdp = await page.context().newCDPSession(page);
  await cdp.send('Runtime.evaluate', { expression: readFileSync(AXE, 'utf8') });
  const result = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'],
    runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
  await cdp.detach();
  return result.violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.target} ${n.failureSummary?.split('\n')[1] ?? ''}`).slice(0, 3).join(' | ')}`);
}

// ---- the counting ----

const results = { passed: 0, failed: 0 };

export async function test(name, only, run) {
  if (only && !only.split(' ').every((word) => name.includes(word))) return;
  const begun = Date.now();
  try {
    await run();
    results.passed++;
    console.log(`ok     ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
  } catch (e) {
    results.failed++;
    console.log(`FAILED ${name}\n${String(e.stack).split('\n').slice(0, 12).map((line) => '       ' + line).join('\n')}`);
  }
}

export function count() {
  console.log(`${results.passed} passed, ${results.failed} failed`);
  return results.failed || !results.passed ? 1 : 0;
}
