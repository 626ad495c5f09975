// SPDX-License-Identifier: Apache-2.0
// Server-sent events read with fetch(), because EventSource cannot send Authorization. A broken or silent stream is
// opened again with Last-Event-ID, with back-off; a hidden page holds no connection for long, since a browser has only
// six of them for a host.

import { ApiError, open } from './api.js';
import { sleep } from './dom.js';

const SILENCE_MS_MAX = 40000; // the server sends a comment every 15 s
const HEAD_MS_MAX = 15000;
const WAIT_MS_MAX = 8000;
const HIDDEN_MS = 30000;

/** Messages {id, event, data} of a body; `heard` is called for every piece, comments too. */
async function* messages(body, heard) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '', message = {};
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heard();
      text += value;
      const lines = text.split(/\r\n|\n|\r(?!$)/);
      text = lines.pop();
      for (const line of lines) {
        if (line === '') {
          if (message.data !== undefined) yield message;
          message = {};
          continue;
        }
        const [, name, rest] = /^([^:]*)(?::\s?(.*))?$/s.exec(line);
        if (name === 'data') message.data = message.data === undefined ? rest ?? '' : `${message.data}\n${rest ?? ''}`;
        else if (name === 'id' || name === 'event') message[name] = rest ?? '';
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function shown(signal) {
  return new Promise((resolve, reject) => {
    if (!document.hidden) return resolve();
    const look = () => { if (!document.hidden) { document.removeEventListener('visibilitychange', look); resolve(); } };
    document.addEventListener('visibilitychange', look);
    signal.addEventListener('abort', () => { document.removeEventListener('visibilitychange', look); reject(signal.reason); });
  });
}

/** One connection, until it ends. Calls `live` when it stands; `event` returns true when all is said. Returns
 *  {done, id}. */
async function connection(path, id, { event, live, signal }) {
  const own = new AbortController();
  const stop = () => own.abort(new DOMException('closed', 'TimeoutError'));
  let silence = setTimeout(stop, HEAD_MS_MAX), hidden = null;
  const heard = () => { clearTimeout(silence); silence = setTimeout(stop, SILENCE_MS_MAX); };
  const visible = () => { clearTimeout(hidden); if (document.hidden) hidden = setTimeout(stop, HIDDEN_MS); };
  signal.addEventListener('abort', stop);
  document.addEventListener('visibilitychange', visible);
  visible();
  try {
    const headers = id === null ? {} : { 'Last-Event-ID': String(id) };
    const answer = await open('GET', path, { accept: 'text/event-stream', headers, signal: own.signal });
    if (answer.status === 204) return { done: true, id };
    if (!answer.body || !/^text\/event-stream/.test(answer.headers.get('Content-Type') ?? '')) throw new ApiError(0);
    heard();
    live();
    for await (const message of messages(answer.body, heard)) {
      if (message.id) id = message.id;
      if (event(message)) return { done: true, id };
    }
  } catch (e) {
    if (e instanceof ApiError && [401, 403, 404].includes(e.status)) throw e;
    return { done: false, id, failed: !(own.signal.aborted && document.hidden) };
  } finally {
    clearTimeout(silence);
    clearTimeout(hidden);
    signal.removeEventListener('abort', stop);
    document.removeEventListener('visibilitychange', visible);
    own.abort();
  }
  return { done: false, id };
}

/**
 * Follow a stream until `event(message)` returns true, the server says 204, or the signal aborts. `state` is told
 * 'live', or 'waiting' with the ms until the next try and a function that tries now.
 */
export async function follow(path, { id = null, event, state, signal }) {
  let failures = 0;
  const live = () => { failures = 0; state('live'); };
  while (!signal.aborted) {
    await shown(signal);
    const begun = Date.now();
    const end = await connection(path, id, { event, live, signal });
    id = end.id;
    if (end.done || signal.aborted) return;
    // A stream that stood for a while and ended in order is opened again at once.
    if (!end.failed && Date.now() - begun > 2000) continue;
    const wait = Math.min(WAIT_MS_MAX, 400 * 2 ** failures++) * (0.75 + Math.random() * 0.5);
    await sleep(wait, signal, (now) => {
      state('waiting', wait, now);
      addEventListener('online', now, { once: true });
    });
  }
}
