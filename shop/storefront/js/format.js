// SPDX-License-Identifier: Apache-2.0
// From the API's words to a reader's.

const moneys = new Map();

/** {amount, currency} in minor units; what is no money is a dash. */
export function money(m) {
  if (!m || !Number.isFinite(m.amount)) return '–';
  const currency = /^[A-Z]{3}$/.test(m.currency) ? m.currency : 'GBP';
  if (!moneys.has(currency)) moneys.set(currency, new Intl.NumberFormat('en-GB', { style: 'currency', currency }));
  const format = moneys.get(currency);
  return format.format(m.amount / 10 ** format.resolvedOptions().maximumFractionDigits);
}

const times = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'short' });
const exact = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

export function when(at, withSeconds = false) {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? '' : (withSeconds ? exact : times).format(date);
}

const small = new Set(['A', 'AND', 'AT', 'FOR', 'FROM', 'IN', 'OF', 'ON', 'OR', 'THE', 'TO', 'W', 'WITH']);
const kept = new Set(['3D', 'DIY', 'EU', 'LED', 'TV', 'UK', 'USA', 'XL', 'XXL']);

function word(w, index) {
  if (kept.has(w)) return w;
  if (index > 0 && small.has(w)) return w.toLowerCase();
  // The first letter of each part of "T-LIGHT", "SET/3" and "CREAM+PINK"; "POPPY'S" is one part.
  return w.toLowerCase().replace(/(^|[-/+.,("&])(\p{L})/gu, (all, before, letter) => before + letter.toUpperCase());
}

/** The data shouts. A name that is all in capitals is shown in title case, any other as it is. */
export function kindly(name) {
  const text = String(name ?? '').trim().replace(/\s+/g, ' ');
  return /\p{Ll}/u.test(text) ? text : text.split(' ').map(word).join(' ');
}

export const plural = (n, one, many = one + 's') => `${n.toLocaleString('en-GB')} ${n === 1 ? one : many}`;

/** {text, state} or null when it is not known. */
export function stock(available) {
  if (!Number.isInteger(available)) return null;
  if (available <= 0) return { text: 'Out of stock', state: 'none' };
  if (available <= 10) return { text: `Only ${available} left`, state: 'few' };
  return { text: 'In stock', state: 'good' };
}
