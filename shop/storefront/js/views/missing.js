// SPDX-License-Identifier: Apache-2.0
// Where nothing is.

import { h } from '../dom.js';
import { linkButton } from '../parts.js';
import { tile } from '../tile.js';

export default async function missing(ctx) {
  ctx.title('Not found');
  ctx.render(h('section.missing', tile('404', 'BIRD'), h('div', h('h1', 'This page has flown'),
    h('p', 'There is nothing at this address. Perhaps it was moved, or the link lost a letter.'),
    h('p.row', linkButton('To the shop', '/', 'first'), linkButton('Your orders', '/orders')))));
}
