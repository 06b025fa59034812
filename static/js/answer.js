// An answer as a person reads it: what, how sure, how unlike anything known, and why.

import { h, num, percent, cell, words, select } from './dom.js';
import { post } from './api.js';
import { act, meter, toast } from './parts.js';
import { bars, raster, picture } from './charts.js';
import { square, shown } from './forms.js';

/** Active units of an explained answer as `[unit, strength]`. */
export const units = (p) => (p.explanation?.active_units ?? []).map((u) => [u.unit, u.activation]);

function novelty(p) {
  if (p.novelty == null) return null;
  const bar = meter('Novelty');
  bar.set(p.novelty);
  if (p.novelty > 0.5) bar.node.classList.add('warm');
  const text = p.abstained ? 'Unlike anything it has seen: better not trust this answer.' : p.novelty > 0.8 ? 'Rather unlike what it knows.' : p.novelty > 0.4 ? 'Somewhat unusual.' : 'Much like what it knows.';
  return h('div', h('h3', 'Novelty ', h('span.mute', num(p.novelty, 2))), bar.node, h('p', { class: p.abstained ? 'small warm' : 'small mute' }, text));
}

/** Text with the words that mattered marked. `weights` by position. */
function tokens(parts, weights) {
  const top = Math.max(...weights.map(Math.abs), 1e-9);
  return h('p.tokens', parts.map((part, i) => {
    const shade = h('i', { 'aria-hidden': 'true' });
    shade.style.opacity = (Math.abs(weights[i] ?? 0) / top) * 0.6;
    return [h('span', { title: `weight ${num(weights[i] ?? 0)}` }, shade, part), ' '];
  }));
}

/** Attention over the row: a picture for patches, marked words for text, bars for all else. */
function attended(attention, list, row) {
  if (!attention?.length) return null;
  const weights = attention.map((a) => a.weight);
  const one = attention.every((a) => a.name === attention[0].name) && list.find((f) => f.name === attention[0].name);
  const value = one && row[one.name];
  const side = Math.sqrt(weights.length);
  if (one && square(one) && Number.isInteger(side)) {
    const [rows, cols] = square(one);
    const at = (i) => Math.floor((Math.floor(i / cols) / rows) * side) * side + Math.floor(((i % cols) / cols) * side);
    return picture(value, rows, cols, 168, Array.from({ length: rows * cols }, (_, i) => weights[at(i)]));
  }
  const parts = typeof value === 'string' ? value.split(/\s+/).filter(Boolean) : [];
  if (parts.length && parts.length === weights.length) return tokens(parts, weights);
  return bars(attention.map((a) => ({ name: one ? `${a.name} ${a.token + 1}` : a.name, value: a.weight })).sort((x, y) => y.value - x.value), percent, 10);
}

/** Weights of a square vector's cells are drawn over it; all others are bars. */
function reasons(weights, list, row) {
  if (!weights?.length) return null;
  const image = list.find((f) => square(f) && Array.isArray(row[f.name]));
  if (image) {
    const [rows, cols] = square(image);
    const tint = new Array(rows * cols).fill(0);
    let hits = 0;
    for (const { name, weight } of weights) {
      const at = /(\d+)\]?$/.exec(name);
      if (at && name.startsWith(image.name) && Number(at[1]) < tint.length) { tint[Number(at[1])] += weight; hits += 1; }
    }
    if (hits > 1) return picture(row[image.name], rows, cols, 168, tint);
  }
  return bars(weights.map((w) => ({ name: w.name, value: w.weight })).sort((a, b) => Math.abs(b.value) - Math.abs(a.value)), (v) => num(v, 2), 10);
}

const block = (title, node, note) => (node ? h('div.stack.tight', h('h3', title), node, note ? h('p.small.mute', note) : null) : null);

/** Draws the first prediction of a predict call. */
export function answer(made, it, list, row, path) {
  const p = made.predictions[0];
  const why = p.explanation ?? {};
  const numeric = p.label == null && p.value != null;
  const fired = units(p);
  const labels = Object.entries(p.probabilities ?? {}).sort((a, b) => b[1] - a[1]);
  const known = it.schema.classes ?? labels.map(([name]) => name);
  const truth = numeric ? h('input', { type: 'number', step: 'any', 'aria-label': 'The right value', value: p.value }) : select(known.map(String), String(p.label), { 'aria-label': 'The right answer' });
  return h('div.answer',
    h('p.big', { id: 'answer' }, numeric ? num(p.value, 5) : String(p.label), h('small', numeric ? (p.interval ? `${num(p.interval[0], 4)} to ${num(p.interval[1], 4)}` : '') : percent(p.probability))),
    labels.length > 1 ? bars(labels.map(([name, value]) => ({ name, value, of: 1 })), percent, 10) : null,
    p.set ? h('p.row', h('span.small.mute', 'Set that holds the truth as often as asked:'), p.set.length ? p.set.map((one) => h('span.chip.good', String(one))) : h('span.chip.warn', 'empty: none fits')) : null,
    novelty(p),
    block('What it attended to', attended(why.attention, list, row)),
    block('What spoke for and against', reasons(why.features, list, row)),
    why.memories?.length ? block('Memories it recalled', h('ul.bars', why.memories.slice(0, 6).map((m) => {
      const view = Object.entries(m.row ?? {}).map(([name, v]) => shown(v, list.find((f) => f.name === name))).find(Boolean);
      return h('li', h('strong.name', cell(m.label ?? m.value)), view ?? h('span.cell.mute', Object.entries(m.row ?? {}).map(([k, v]) => `${words(k)} ${cell(v, 20)}`).join(', ')), h('span.val', num(m.similarity, 2)));
    })), 'with how alike they are') : null,
    fired.length ? block('Active units', raster([{ label: '', units: fired }], `${fired.length} active units`), `${fired.length} units spoke; all others were silent.`) : null,
    p.prediction_id ? h('div.row', h('span.small.mute', 'The right answer is'), truth, act('Teach', async () => {
      await post(`${path}/feedback`, { prediction_id: p.prediction_id, target: numeric ? Number(truth.value) : truth.value });
      toast('Learned.');
    }, { class: 'slim' })) : null,
    h('p.small.mute', `Answered by version ${made.version}.`));
}
