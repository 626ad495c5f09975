// SPDX-License-Identifier: Apache-2.0
// Requests to /api/v1. Reads are repeated quietly a few times when the shop says 502, 503, 504 or nothing at all; what
// changes something is sent once, and whoever sent it decides. Every failure is an ApiError that knows how to put
// itself in words.

import { sleep } from './dom.js';
import * as session from './session.js';

const READ_TRIES = 4, READ_MS_MAX = 8000;
const PATIENCE_MS = 10000; // no further try after this
const WAIT_MS_MAX = 4000;
// Anyone may ask these; a token that has run out would only be in the way.
const FOR_ANYONE = /^\/api\/v1\/(products|search|sessions|users$)/;

export class ApiError extends Error {
  /** status 0: no answer, or none that could be read; late: none in time. */
  constructor(status, problem = {}, retryAfterS = null) {
    super(problem.detail || `status ${status}`);
    this.status = status;
    this.late = problem.late || status === 504;
    this.code = codeOf(problem);
    this.errors = Array.isArray(problem.errors) ? problem.errors : [];
    this.retryAfterS = retryAfterS;
  }

  get passing() { return [0, 429, 502, 503, 504].includes(this.status); }
}

function codeOf(problem) {
  return String(problem.code ?? problem.type ?? '').split(/[/:]/).pop();
}

/** When a token is refused: main.js sends the person to sign in and back here. */
export const refused = new EventTarget();

function signalOf(signal, timeoutMs) {
  const own = new AbortController();
  const abort = () => own.abort(signal.reason);
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort, { once: true });
  const timer = setTimeout(() => own.abort(new DOMException('no answer in time', 'TimeoutError')), timeoutMs);
  return { signal: own.signal, done: () => { clearTimeout(timer); signal?.removeEventListener('abort', abort); } };
}

/** fetch() with the token. An answer with an error status, or none, is thrown; 401 on a token ends the session. */
export async function open(method, path, { body, key, accept, headers = {}, signal } = {}) {
  const token = FOR_ANYONE.test(path) ? null : session.token();
  const fields = { Accept: accept ?? 'application/json', ...headers };
  if (token) fields.Authorization = `Bearer ${token}`;
  if (body !== undefined) fields['Content-Type'] = 'application/json';
  if (key) fields['Idempotency-Key'] = key;
  let answer;
  try {
    answer = await fetch(path, { method, headers: fields, signal, cache: 'no-store', credentials: 'omit', redirect: 'error',
      referrerPolicy: 'no-referrer', body: body === undefined ? undefined : JSON.stringify(body) });
  } catch (e) {
    if (signal?.aborted && signal.reason?.name !== 'TimeoutError') throw e;
    throw new ApiError(0, { late: signal?.reason?.name === 'TimeoutError' });
  }
  if (answer.ok) return answer;
  const problem = await answer.json().catch(() => ({})) ?? {};
  if (answer.status === 401 && token && token === session.token()) {
    session.end();
    refused.dispatchEvent(new Event('refused'));
  }
  const after = Number.parseInt(answer.headers.get('Retry-After') ?? '', 10);
  throw new ApiError(answer.status, problem, Number.isFinite(after) ? after : null);
}

async function once(method, path, options, timeoutMs) {
  const limit = signalOf(options.signal, timeoutMs);
  try {
    const answer = await open(method, path, { ...options, signal: limit.signal });
    const text = await answer.text();
    const value = text === '' ? null : JSON.parse(text);
    if (value === null || typeof value === 'object') return { value, headers: answer.headers };
    throw new ApiError(0);
  } catch (e) {
    if (e instanceof ApiError || options.signal?.aborted) throw e;
    throw new ApiError(0, { late: limit.signal.aborted }); // broken off, too late, or not JSON
  } finally {
    limit.done();
  }
}

/** {value, headers}. */
export async function read(path, { signal, tries = READ_TRIES, timeoutMs = READ_MS_MAX } = {}) {
  const begun = Date.now();
  for (let attempt = 1; ; attempt++) {
    try {
      return await once('GET', path, { signal }, timeoutMs);
    } catch (e) {
      if (!(e instanceof ApiError) || !e.passing || attempt >= tries || Date.now() - begun > PATIENCE_MS) throw e;
      const wait = e.retryAfterS !== null ? e.retryAfterS * 1000 : 250 * 2 ** attempt;
      await sleep(Math.min(WAIT_MS_MAX, wait) * (0.8 + Math.random() * 0.4), signal);
    }
  }
}

/** The answer's body. For lists and objects that are nothing without this array, name it: its absence is a failure. */
export async function get(path, options = {}) {
  const { value } = await read(path, options);
  if (value === null || (options.array && !Array.isArray(value[options.array]))) throw new ApiError(0);
  return value;
}

export async function send(method, path, body, options = {}) {
  return (await once(method, path, { body, ...options }, options.timeoutMs ?? 20000)).value;
}

/** One true sentence on what went wrong; `part` is what could not be reached, as in "the catalogue". */
export function explain(error, part) {
  if (!(error instanceof ApiError)) return `Something went wrong in this page (${error?.message ?? 'unknown'}).`;
  if (navigator.onLine === false && error.status === 0) return 'You seem to be offline.';
  if (error.late) return `We waited, but ${part} does not answer at the moment.`;
  if (error.status === 0) return `We could not reach ${part}, or could not read its answer.`;
  if (error.passing) return `We cannot reach ${part} at the moment.`;
  if (error.status === 401) return 'Please sign in to see this.';
  if (error.status === 404) return 'There is nothing here, or it is not yours to see.';
  if (error.status === 507) return `${sentence(part)} has no room left to store anything.`;
  if (error.status >= 500) return `${sentence(part)} failed to answer (${error.status}).`;
  return sentence(error.message) + '.';
}

const sentence = (text) => String(text).charAt(0).toUpperCase() + String(text).slice(1);
