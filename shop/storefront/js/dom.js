// SPDX-License-Identifier: Apache-2.0
// Making elements. Strings always become text nodes, so nothing from the catalogue is ever read as markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  return node;
}

/** h('a.big', {href}, 'text', node, ...): the attributes may be left out; `onclick` and the like are listeners. */
export function h(what, ...rest) {
  const [tag, ...classes] = what.split('.');
  const plain = rest[0] !== null && typeof rest[0] === 'object' && !(rest[0] instanceof Node) && !Array.isArray(rest[0]);
  const node = document.createElement(tag);
  if (classes.length) node.className = classes.join(' ');
  return fill(node, plain ? rest.shift() : {}, rest);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

export const byId = (id) => document.getElementById(id);

/** Tell those who do not see the page what happened on it. */
export function announce(text) {
  const say = byId('say');
  say.textContent = '';
  setTimeout(() => { say.textContent = text; }, 50);
}

/** Resolves after this time, or rejects when the signal aborts. `wake`: a function that is given one to end it early. */
export function sleep(ms, signal, wake) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const abort = () => { clearTimeout(timer); reject(signal.reason); };
    const done = () => { clearTimeout(timer); signal?.removeEventListener('abort', abort); resolve(); };
    const timer = setTimeout(done, ms);
    signal?.addEventListener('abort', abort, { once: true });
    wake?.(done);
  });
}
