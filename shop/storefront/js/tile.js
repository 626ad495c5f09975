// SPDX-License-Identifier: Apache-2.0
// A picture for a product that has none: drawn from its name (what it is, its colour, how many) and, where the name does
// not say, from its sku. The same product always looks the same.

import { svg } from './dom.js';

// On a field of 100 x 100. a: main colour, b: second colour, l: a line, d: a line on the second colour.
const motifs = {
  heart: 'aM50 86C22 64 10 50 10 34a20 20 0 0 1 40-7 20 20 0 0 1 40 7c0 16-12 30-40 52z',
  star: 'aM50 8l12.5 27 29.5 3.5-22 20 6 29.5-26-15-26 15 6-29.5-22-20 29.5-3.5z',
  tree: 'aM50 6l22 30H62l18 24H66l20 22H14l20-22H20l18-24H28z|bM44 82h12v12H44z',
  bauble: 'aM50 26a32 32 0 1 1-.1 0z|bM43 14h14v14H43zM19 52h62v11H19z|lM50 14V4',
  flower: 'aM50 6a16 16 0 0 1 15 22 16 16 0 0 1 24 13 16 16 0 0 1-17 17 16 16 0 0 1-4 27 16 16 0 0 1-18-8 16 16 0 0 1-18 8 16 16 0 0 1-4-27 16 16 0 0 1-17-17 16 16 0 0 1 24-13A16 16 0 0 1 50 6z|bM50 36a14 14 0 1 1-.1 0z',
  leaf: 'aM52 92C16 76 18 30 74 8c14 44 4 74-22 84z|lM30 96C40 70 52 46 66 28M44 66l-12-8M47 58l20 2',
  bird: 'aM14 40c8-18 32-22 42-4l34-14c-2 32-18 52-44 52C28 74 16 62 14 40z|bM14 40L2 44l13 5zM40 44c12-4 26-2 34 8-14 12-30 8-34-8z|lM44 74v16M54 73v17',
  candle: 'aM34 42h32v46H34z|bM50 8c10 12 10 22 0 26-10-4-10-14 0-26z|lM50 34v8M22 90h56',
  lantern: 'aM26 34h48l6 52H20z|bM38 44h24l3 32H35z|lM38 34c0-22 24-22 24 0M16 90h68',
  mug: 'aM18 34h52v38a14 14 0 0 1-14 14H32a14 14 0 0 1-14-14z|lM70 44h8a10 10 0 0 1 0 24h-8M34 24c-6-6 6-8 0-16M52 24c-6-6 6-8 0-16|bM18 46h52v9H18z',
  pot: 'aM24 44h48c6 26-6 42-24 42S18 70 24 44z|lM72 52l16-10M24 54C8 46 6 70 24 72|bM34 34h28l4 10H30zM44 24h8v10h-8z',
  bottle: 'aM40 8h20v22c10 6 14 14 14 24v38H26V54c0-10 4-18 14-24z|bM26 58h48v18H26z',
  bag: 'aM18 36h64l6 54H12z|lM34 46V30c0-22 32-22 32 0v16|bM15 66h70l1.5 10h-73z',
  box: 'aM14 42h72v46H14zM10 28h80v14H10z|bM43 28h14v60H43z|lM50 28C30 26 28 8 38 8s12 20 12 20 2-20 12-20 8 18-12 20',
  tin: 'aM22 30h56v58H22z|bM18 18h64v14H18zM36 48h28v22H36z',
  letter: 'aM10 24h80v54H10z|lM10 26l40 32 40-32',
  book: 'aM22 10h56v80H22z|bM32 24h36v20H32z|lM30 10v80',
  clock: 'aM50 8a42 42 0 1 1-.1 0z|bM50 20a30 30 0 1 1-.1 0z|dM50 32v20l14 8',
  key: 'aM30 10a22 22 0 1 1-.1 0z|bM30 23a9 9 0 1 1-.1 0z|lM45 47l38 38M68 70l10-10M76 78l9-9',
  beads: 'lM14 18c4 62 68 62 72 0|aM17 34a7 7 0 1 1-.1 0zM29 52a7 7 0 1 1-.1 0zM71 52a7 7 0 1 1-.1 0zM83 34a7 7 0 1 1-.1 0z|bM50 62a14 14 0 1 1-.1 0z',
  ring: 'lM50 36a28 28 0 1 1-.1 0z|aM34 10h32l10 14-26 22-26-22z|bM44 10h12l6 14-12 22-12-22z',
  drops: 'aM28 40c10 14 14 22 14 30a14 14 0 0 1-28 0c0-8 4-16 14-30zM72 40c10 14 14 22 14 30a14 14 0 0 1-28 0c0-8 4-16 14-30z|lM28 40c-6-16 4-24 8-18M72 40c-6-16 4-24 8-18',
  bowl: 'aM8 42h84c0 26-16 42-42 42S8 68 8 42z|bM12 54h76l-3 9H15zM36 84h28v8H36z',
  plate: 'aM50 8a42 42 0 1 1-.1 0z|bM50 24a26 26 0 1 1-.1 0z|dM50 36a14 14 0 1 1-.1 0z',
  cake: 'aM18 52h64v32H18z|bM18 52c0-22 64-22 64 0 0 12-10 12-16 2-6 12-12 12-16 0-6 12-12 12-16 0-6 10-16 8-16-2zM50 16a8 8 0 1 1-.1 0z|lM8 88h84',
  cutlery: 'lM34 44v46M24 12v20a10 10 0 0 0 20 0V12M34 12v30|aM66 10c10 0 14 12 14 22s-4 18-10 20l2 38H60l2-38c-6-2-10-10-10-20s4-22 14-22z',
  umbrella: 'aM50 12c26 0 42 20 42 40-8-8-18-8-28 0-8-8-20-8-28 0-10-8-20-8-28 0 0-20 16-40 42-40z|lM50 6v72c0 14-18 14-18 2',
  bunting: 'lM4 22c30 16 62 16 92 0|aM8 26l24 8-14 26zM66 34l26-8-10 34z|bM36 34h27L50 66z',
  butterfly: 'aM48 44C36 8 4 12 12 36c2 8 12 12 20 12-14 4-18 24-6 30 12 4 20-12 22-26zM52 44c12-36 44-32 36-8-2 8-12 12-20 12 14 4 18 24 6 30-12 4-20-12-22-26z|lM50 34v44M50 34L40 20M50 34l10-14',
  egg: 'aM50 8c20 0 32 32 32 50a32 32 0 0 1-64 0C18 40 30 8 50 8z|bM19 50l10-8 10 8 11-8 11 8 10-8 10 8v12l-10-8-10 8-11-8-11 8-10-8-10 8z',
  cushion: 'aM12 12c26 8 50 8 76 0-8 26-8 50 0 76-26-8-50-8-76 0 8-26 8-50 0-76z|bM50 36a14 14 0 1 1-.1 0z',
  frame: 'aM14 10h72v80H14z|bM28 24h44v52H28z|lM32 72l14-20 10 12 6-8 8 16',
  house: 'aM16 46h68v44H16z|bM50 10l44 38H6zM42 62h16v28H42z',
  cat: 'aM18 14l22 14h20l22-14v42c0 20-14 32-32 32S18 76 18 56z|bM36 46a5 5 0 1 1-.1 0zM64 46a5 5 0 1 1-.1 0z|lM50 62v6M50 68c-4 8-12 6-12 6M50 68c4 8 12 6 12 6',
  doll: 'aM50 38c26 8 32 54 20 54H30C18 92 24 46 50 38z|bM50 8a19 19 0 1 1-.1 0zM50 56c14 6 14 22 0 26-14-4-14-20 0-26z',
  bulb: 'aM50 8c20 0 32 14 32 30 0 16-14 20-16 36H34c-2-16-16-20-16-36C18 22 30 8 50 8z|bM34 78h32v6H34zM38 88h24v6H38z|lM42 50l8 8 8-8M50 58v14',
  mushroom: 'aM50 12c26 0 42 18 42 38H8c0-20 16-38 42-38z|bM38 50h24l6 38H32zM34 24a6 6 0 1 1-.1 0zM62 20a5 5 0 1 1-.1 0zM70 36a5 5 0 1 1-.1 0z',
  berry: 'aM50 26c28-6 40 8 34 28S62 92 50 92 22 74 16 54s6-34 34-28z|bM50 30L28 22l14-4-4-12 12 8 12-8-4 12 14 4z|lM36 48v6M50 44v6M64 48v6M43 64v6M57 64v6',
  pencil: 'aM62 8l30 30-52 52L10 60z|bM10 60l30 30-36 6z|lM52 18l30 30',
  bell: 'aM50 12c20 0 26 16 26 34 0 16 4 22 12 32H12c8-10 12-16 12-32 0-18 6-34 26-34z|bM50 80a9 9 0 1 1-.1 0z|lM50 4v8',
  skull: 'aM50 8c24 0 38 16 38 34 0 14-6 20-14 24v20H26V66c-8-4-14-10-14-24C12 24 26 8 50 8z|bM34 36a10 10 0 1 1-.1 0zM66 36a10 10 0 1 1-.1 0zM50 58l6 10H44z|lM42 78v10M50 78v10M58 78v10',
  hook: 'aM14 12h72v16H14z|lM34 28v30c0 22 28 22 28 2M50 4v8',
  arches: 'aM10 90V50a40 40 0 0 1 80 0v40H74V50a24 24 0 0 0-48 0v40z|bM34 90V52a16 16 0 0 1 32 0v38z',
  moons: 'aM50 8a42 42 0 1 1-.1 0z|bM60 22a30 30 0 1 1-.1 0z',
  petals: 'aM10 10h36v36H26a16 16 0 0 1-16-16zM54 54h36v20a16 16 0 0 1-16 16H54z|bM54 10h20a16 16 0 0 1 16 16v20H54zM10 54h36v36H30a16 16 0 0 1-16-16z',
};

// The first that fits says what it is; so the thing goes before its ornament.
const things = [
  [/T-?LIGHT|CANDLE|INCENSE/, 'candle'], [/LANTERN/, 'lantern'], [/NECKL|BRACELET|BEAD|GARLD|CHARM/, 'beads'],
  [/EARRING/, 'drops'], [/\bRING\b|DIAMANTE|JEWEL|CRYSTAL/, 'ring'], [/KEY/, 'key'], [/\bMUGS?\b|\bCUPS?\b|COFFEE/, 'mug'],
  [/TEA ?POT|\bTEA\b|KETTLE/, 'pot'], [/BOTTLE|WATER|\bJARS?\b|VASE|SCENT|BALM/, 'bottle'],
  [/BUNTING|GARLAND|FLAGS?\b/, 'bunting'], [/CAKE|BAKING|MUFFIN|BUN\b/, 'cake'], [/UMBRELLA|PARASOL/, 'umbrella'],
  [/CLOCK|TIMER/, 'clock'], [/LUNCH|\bTINS?\b|CANISTER|\bBINS?\b|BUCKET/, 'tin'],
  [/CUTLERY|SPOON|FORK|KNIFE|APRON|KITCHEN/, 'cutlery'], [/BOWL|DISH|BASKET|JELLY|MOULD/, 'bowl'],
  [/PLATE|TRAY|COASTER|SAUCER/, 'plate'], [/BAG|PURSE|LUGGAGE|SHOPPER/, 'bag'], [/CUSHION|DOORMAT|WARMER|PILLOW|QUILT|TOWEL/, 'cushion'],
  [/NOTEBOOK|\bBOOK|JOURNAL|DIARY|ALBUM/, 'book'], [/PENCIL|\bPENS?\b|CHALK|CRAYON|SKETCH/, 'pencil'],
  [/CARDS?\b|LETTER|ENVELOPE|MAGNET|POSTCARD|STICKER|TISSUE|NAPKIN/, 'letter'],
  [/FRAME|MIRROR|\bSIGN\b|PICTURE|PHOTO|SLATE|BOARD/, 'frame'], [/BULB|LAMP|LIGHTS?\b/, 'bulb'],
  [/HOOK|HANGER|KNOB|RACK/, 'hook'], [/BABUSHKA|DOLL|GIRL|SPACEBOY|PRINCESS|FAIRY/, 'doll'],
  [/BIRD|DOVE|ROBIN|CHICK|HEN\b|OWL|PARROT|DUCK/, 'bird'], [/BUTTERFL/, 'butterfly'], [/EASTER|\bEGG|RABBIT|BUNNY/, 'egg'],
  [/\bCATS?\b|DOGS?\b|KITTEN|PUPPY|FOX|BEAR|MOUSE/, 'cat'], [/SKULL/, 'skull'], [/MUSHROOM|TOADSTOOL|WOODLAND/, 'mushroom'],
  [/STRAWBERR|FRUIT|APPLE|CHERRY|PEAR\b/, 'berry'], [/HOUSE|HOME|COTTAGE|PLAYHOUSE|\bDOOR/, 'house'], [/BELL/, 'bell'],
  [/BAUBLE|DECORATION|ORNAMENT/, 'bauble'], [/HEART|LOVE/, 'heart'], [/STAR/, 'star'], [/CHRISTMAS|\bTREE/, 'tree'],
  [/FLOWER|ROSE|DAISY|FLORAL|BLOOM|POPPY|HYACINTH/, 'flower'], [/GARDEN|LEAF|BOTANICAL|HERB|WREATH|PLANT|GREEN/, 'leaf'],
  [/\bBOX|GIFT|WRAP|RIBBON|PRESENT|CABINET|DRAWER|STORAGE|CASE|PARTY/, 'box'],
];
const abstract = ['arches', 'moons', 'petals', 'flower', 'leaf'];

const colours = [
  [/PINK|ROSE|FUCHSIA|RASPBERRY/, 'pink'], [/\bRED|STRAWBERRY|CHERRY|RETROSPOT/, 'red'],
  [/BLUE|TURQ|AQUA|DENIM|NAVY|UNION/, 'blue'], [/GREEN|LEAF|OLIVE|MINT|GARDEN|HERB/, 'green'],
  [/PURPLE|LILAC|LAVENDER|AMETHYST|MAUVE|PLUM/, 'plum'], [/YELLOW|GOLD|LEMON|AMBER|EASTER/, 'sun'], [/ORANGE|COPPER|TERRACOTTA|RUST/, 'clay'],
  [/BLACK|SKULL|SLATE|CHALK/, 'ink'], [/BROWN|WOOD|CHOCOLATE|WICKER|COFFEE|NATURAL/, 'wood'],
  [/WHITE|IVORY|CREAM|LACE|SILVER|ZINC|METAL|GLASS|PEARL|CRYSTAL/, 'pale'],
];
const festive = ['red', 'green', 'sun', 'red', 'pale'];
const palettes = ['pink', 'blue', 'green', 'plum', 'sun', 'clay', 'wood', 'red', 'pale'];

/** FNV-1a, then mixed, so that neighbours in the list of skus look different. */
function hash(text) {
  let n = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) n = Math.imul(n ^ text.charCodeAt(i), 0x01000193);
  n = Math.imul(n ^ (n >>> 15), 0x2c1b3c6d);
  return (n ^ (n >>> 13)) >>> 0;
}

function motif(name, x, y, size, turn = 0) {
  const k = size / 100;
  const g = svg('g', { transform: `translate(${x - size / 2} ${y - size / 2}) scale(${k}) rotate(${turn} 50 50)` });
  for (const part of motifs[name].split('|')) g.append(svg('path', { class: part[0], d: part.slice(1) }));
  return g;
}

function ground(name, n) {
  const g = svg('g', { class: 'g' });
  const circle = (cx, cy, r) => g.append(svg('circle', { cx, cy, r }));
  const rect = (x, y, width, height) => g.append(svg('rect', { x, y, width, height }));
  if (/POLKA|SPOT|DOT\b|DOTTY/.test(name)) {
    for (let y = 0; y < 6; y++) for (let x = 0; x < 6; x++) circle(x * 44 - (y % 2 ? 0 : 22) + 6, y * 40 + 2, 9);
  } else if (/STRIPE|STRIPEY|DECKCHAIR/.test(name)) {
    for (let x = 0; x < 200; x += 40) rect(x, 0, 20, 200);
  } else if (/GINGHAM|CHECK|TARTAN|PATCHWORK/.test(name)) {
    for (let i = 0; i < 200; i += 50) { rect(i, 0, 25, 200); rect(0, i, 200, 25); }
  } else {
    const shapes = [
      () => circle(100, 100, 74), () => circle(100, 206, 120), () => rect(0, 118, 200, 82),
      () => g.append(svg('path', { d: 'M36 200V100a64 64 0 0 1 128 0v100z' })), () => g.append(svg('path', { d: 'M0 200L200 40v160z' })),
      () => circle(168, 40, 62), () => { rect(0, 0, 100, 100); rect(100, 100, 100, 100); },
    ];
    shapes[n % shapes.length]();
  }
  return g;
}

const places = {
  1: [[100, 102, 108]],
  2: [[62, 104, 66], [138, 104, 66]],
  3: [[100, 60, 62], [60, 138, 62], [140, 138, 62]],
  4: [[62, 62, 58], [138, 62, 58], [62, 138, 58], [138, 138, 58]],
  5: [[56, 56, 50], [144, 56, 50], [100, 100, 50], [56, 144, 50], [144, 144, 50]],
  6: [[46, 68, 46], [100, 68, 46], [154, 68, 46], [46, 134, 46], [100, 134, 46], [154, 134, 46]],
};

function countOf(name) {
  const found = /(?:SET|PACK|BOX)\s*(?:OF|\/)?\s*(\d+)\b|\b[SP]\/(\d+)\b|\bPAIR\b|\bTWIN\b/.exec(name);
  if (!found) return 1;
  return Math.min(6, Math.max(1, Number(found[1] ?? found[2] ?? 2)));
}

export function tile(sku, name) {
  const upper = String(name ?? '').toUpperCase();
  const n = hash(String(sku ?? ''));
  const what = things.find(([words]) => words.test(upper))?.[1] ?? abstract[n % abstract.length];
  const choice = /CHRISTMAS/.test(upper) ? festive : palettes;
  const colour = colours.find(([words]) => words.test(upper))?.[1] ?? choice[(n >>> 5) % choice.length];
  const art = svg('svg', { class: `tile c-${colour}`, viewBox: '0 0 200 200', 'aria-hidden': 'true', focusable: 'false' });
  const turn = [0, 0, -8, 8][(n >>> 12) % 4];
  art.append(svg('rect', { class: 'f', width: 200, height: 200 }), ground(upper, n >>> 8));
  for (const [x, y, size] of places[countOf(upper)]) art.append(motif(what, x, y, size, turn));
  return art;
}

/** A strip of motifs for the head of the shop. */
export function frieze() {
  const art = svg('svg', { class: 'frieze', viewBox: '0 0 600 200', 'aria-hidden': 'true', focusable: 'false', preserveAspectRatio: 'xMaxYMid slice' });
  const row = [['lantern', 'sun'], ['bird', 'blue'], ['flower', 'pink'], ['mug', 'clay'], ['leaf', 'green'], ['bunting', 'red']];
  row.forEach(([what, colour], i) => {
    const high = i % 2;
    art.append(svg('g', { class: `c-${colour}` },
      svg('path', { class: 'f', d: `M${i * 100 + 6} 200V${high ? 80 : 112}a44 44 0 0 1 88 0V200z` }), motif(what, i * 100 + 50, high ? 112 : 138, 52)));
  });
  return art;
}
