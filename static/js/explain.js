// Explanations as pictures: words in their text, parts of an image or series, a waterfall for all else;
// and what the network itself reports: attention, retrieved memories, active units.

import { h, num, percent, cell, words, style, note } from './dom.js';
import { bars, lines, raster, picture } from './charts.js';
import { waterfall, highlighted } from './plots.js';
import { square, shown } from './forms.js';

export const units = (p) => (p.explanation?.active_units ?? []).map((u) => [u.unit, u.activation]);

const chance = (logit) => 1 / (1 + Math.exp(-logit));

// Where a series has several channels, each is drawn for itself.
function overSeries(name, value, map) {
	const channels = Array.isArray(value?.[0]) ? map.map((_, c) => value.map((step) => step[c])) : [value];
	if (typeof channels[0]?.[0] !== 'number') return null;
	return map.slice(0, 6).map((tint, c) => lines(`${name}${channels[1] ? `, channel ${c + 1}` : ''} with the contributions of its steps`,
		[{ name: channels[1] ? `${name}, channel ${c + 1}` : name, points: channels[c].map((v, t) => [t, v]), color: 1 }], { height: 140, xLabel: 'step', tint }));
}

function overColumn(name, map, column, value) {
	if (value === undefined) return null;
	return square(column) && map.length > 1 ? picture(value, square(column), 224, map) : overSeries(name, value, map);
}

const key = (positive, negative) => h('p.legend', h('span', h('i.for'), positive), h('span', h('i.against'), negative));

// What each feature contributed, from the mean of the training rows to this row.
export function contributions({ baseline, output, unit, features = [] }, list, row, label) {
	if (!features.length) return null;
	const texts = Object.entries(Object.groupBy(features.filter((one) => one.start != null), (one) => one.name));
	const maps = features.filter((one) => one.map);
	const odds = unit === 'log-odds';
	const steps = features.map((one) => [one.start == null ? one.name : `“${one.value}”`, one.weight, one.start == null && !one.map ? one.value : undefined])
		.sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]));
	const at = (v) => `${num(v)}${odds ? ` (${percent(chance(v))})` : ''}`;
	const sides = odds ? [`for ${cell(label, 24)}`, `against ${cell(label, 24)}`] : [`raises ${unit ?? 'the value'}`, 'lowers it'];
	return h('div.stack.tight', h('h3', odds ? `Why “${cell(label, 40)}”` : 'What moves the value'),
		baseline == null ? null : note(odds ? `Contributions in log-odds of “${cell(label, 40)}” against the rest.` : `Contributions in the unit of ${unit}.`, ` They add up from the mean of the training rows, ${at(baseline)}, to this row, ${at(output)}.`),
		key(...sides),
		texts.map(([name, some]) => (typeof row[name] === 'string' ? highlighted(row[name], some) : null)),
		maps.map((one) => overColumn(one.name, one.map, list.find((f) => f.name === one.name) ?? {}, row[one.name])),
		baseline == null ? bars(steps, (v) => num(v, 2), 10) : steps.length > 1 ? waterfall(steps, baseline, output) : null);
}

// Attention to one column: over a picture, over words, along a series; else named shares.
function attended(name, weights, column, value) {
	const [low, high] = [Math.min(...weights), Math.max(...weights)];
	const stretched = weights.map((w) => (w - low) / (high - low || 1));
	const range = note(`${name}: ${percent(low)} (no tint) to ${percent(high)} (amber).`);
	const side = Math.sqrt(weights.length);
	if (square(column) && Number.isInteger(side)) {
		return [picture(value, square(column), 168, Array.from({ length: side }, (_, y) => stretched.slice(y * side, (y + 1) * side))), range];
	}
	const parts = typeof value === 'string' ? value.split(/\s+/).filter(Boolean) : value?.every?.((one) => typeof one === 'string') ? value : [];
	if (parts.length && parts.length === weights.length) {
		return [h(typeof value === 'string' ? 'p.tokens' : 'p.tokens.lined', parts.map((text, i) => [h('span', { title: percent(weights[i]) },
			style(h('i', { 'aria-hidden': 'true' }), { opacity: stretched[i] * 0.6 }), text), ' '])), range];
	}
	return lines(`Attention along ${name}`, [{ name: `attention along ${name}`, points: weights.map((w, i) => [i + 1, w]), color: 2 }], { height: 110, xLabel: 'token', format: (v) => percent(v) });
}

// Attention over the row: columns of several tokens by kind, the others as bars.
function attention(entries, list, row) {
	const single = [];
	const many = Object.entries(Object.groupBy(entries, (one) => one.name)).map(([name, some]) => {
		if (some.length > 1) return attended(name, some.map((one) => one.weight), list.find((f) => f.name === name) ?? {}, row[name]);
		single.push([name, some[0].weight]);
		return null;
	});
	return [many, single.length ? bars(single.sort((a, b) => b[1] - a[1]), percent, 10) : null];
}

const memoryRow = (m, list) => h('li', h('strong.name', cell(m.label ?? m.value)),
	h('div.cell.mute', Object.entries(m.row ?? {}).map(([name, v]) => {
		const view = shown(v, list.find((f) => f.name === name) ?? {}, 24);
		return typeof view === 'string' ? `${words(name)} ${view}  ` : view;
	})), h('span.val', num(m.similarity, 2)));

const block = (title, text, ...content) => h('div.stack.tight', h('h3', title), content, text && note(text));

// The network's own account, for those who want it.
export function internals(p, list, row) {
	const { attention: entries = [], memories = [] } = p.explanation ?? {};
	const fired = units(p);
	if (!entries.length && !memories.length && !fired.length) return null;
	return h('details', { open: memories.length > 0 }, h('summary', ['attention', 'retrieved memories', 'active units'].filter((_, i) => [entries, memories, fired][i].length).join(', ').replace(/^./, (c) => c.toUpperCase())),
		h('div.stack', memories.length ? block('Retrieved memories', 'Stored rows that are most similar, with their cosine similarity.', h('ul.bars', memories.slice(0, 6).map((m) => memoryRow(m, list)))) : null,
			entries.length ? block('Attention', '', attention(entries, list, row)) : null,
			fired.length ? block('Active units', `The ${fired.length} most active units, by index.`, raster([fired], Math.max(...fired.map(([unit]) => unit)) + 1, `${fired.length} active units`)) : null));
}
