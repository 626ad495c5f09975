// SPDX-License-Identifier: Apache-2.0
// Who is signed in. The token is in localStorage, so that all tabs agree, and never in a URL, a cookie or the page
// (ADR 0019). It lives as long as the server says, an hour.

const KEY = 'ficus.session';
export const changes = new EventTarget();
let session = read();

function read() {
  try {
    const s = JSON.parse(localStorage.getItem(KEY));
    return s && typeof s.token === 'string' && s.until > Date.now() ? s : null;
  } catch { return null; }
}

function set(s) {
  session = s;
  try {
    if (s) localStorage.setItem(KEY, JSON.stringify(s));
    else localStorage.removeItem(KEY);
  } catch { /* no storage: signed in until the page is left */ }
  changes.dispatchEvent(new Event('change'));
}

// Another tab signed in or out. 'another': what this page shows is not this person's.
addEventListener('storage', (e) => {
  if (e.key !== KEY && e.key !== null) return;
  const before = user();
  session = read();
  changes.dispatchEvent(new Event('change'));
  if (user() !== before) changes.dispatchEvent(new Event('another'));
});

export const token = () => session?.token ?? null;
export const signedIn = () => session !== null;

/** The token's subject: whose cart and attempts these are. Read, not trusted; the server checks. */
export function user() {
  try {
    return JSON.parse(atob(session.token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/'))).sub;
  } catch { return null; }
}

export function begin(answer) {
  set({ token: answer.token, until: Date.now() + (answer.expires_in || 3600) * 1000 });
}

export const end = () => set(null);
