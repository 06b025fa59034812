// Renders a prediction: label or value, probabilities, novelty, explanation.

import { h, num, percent, cell, words, select, style } from './dom.js';
import { post } from './api.js';
import { act, meter, toast } from './parts.js';
import { bars, lines, raster, picture } from './charts.js';
import { square, shown } from './forms.js';

export const units = (p) => (p.explanation?.active_units ?? []).map((u) => [u.unit, u.activation]);

function novelty(p) {
	if (p.novelty == null) return null;
	const bar = meter('Novelty').set(p.novelty);
	if (p.novelty > 0.95) bar.classList.add('warm');
	const text = p.abstained ? 'Unlike the training data: the prediction is unreliable.' : p.novelty > 0.95 ? 'More unusual than 19 of 20 held-out rows.' : 'Similar to the training data.';
	return h('div', h('h3', 'Novelty ', h('span.mute', num(p.novelty, 2))), bar, h(p.abstained ? 'p.small.warm' : 'p.small.mute', text));
}

// Attention to one column: over a picture, over words, along a series; else named shares.
function attended(name, weights, column, value) {
	const [low, high] = [Math.min(...weights), Math.max(...weights)];
	const stretched = weights.map((w) => (w - low) / (high - low || 1));
	const range = h('p.small.mute', `${name}: from ${percent(low)} (no tint) to ${percent(high)} (amber).`);
	if (square(column) && Number.isInteger(Math.sqrt(weights.length))) return [picture(value, square(column), 168, stretched), range];
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

// Weights of a picture's cells are drawn over it; all others are bars.
function reasons(weights, entries, list, row) {
	const sums = new Map();
	const image = list.find((f) => f.kind === 'vector' && square(f) && !entries.some((one) => one.name === f.name));
	const tint = image && Array(row[image.name].length).fill(0);
	for (const { name, weight, value, start, map } of weights) {
		if (map && image?.name === name) {
			map.flat().forEach((one, at) => { tint[at] += one; });
			continue;
		}
		// Of a text each word counts for itself.
		if (start != null) {
			sums.set(value, (sums.get(value) ?? 0) + weight);
			continue;
		}
		// Within a column of several tokens the number is a place in each of them: only the sum says something.
		const [, stem, at] = /^(.*)\[(\d+)\]$/.exec(name) ?? [];
		if (image && stem === image.name) tint[at] += weight;
		else {
			const key = entries.some((one) => one.name === stem) ? stem : name;
			sums.set(key, (sums.get(key) ?? 0) + weight);
		}
	}
	return [tint?.some(Boolean) ? picture(row[image.name], square(image), 168, tint) : null,
		sums.size ? bars([...sums].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])), (v) => num(v, 2), 10) : null];
}

const memoryRow = (m, list) => h('li', h('strong.name', cell(m.label ?? m.value)),
	h('div.cell.mute', Object.entries(m.row ?? {}).map(([name, v]) => {
		const view = shown(v, list.find((f) => f.name === name) ?? {}, 24);
		return typeof view === 'string' ? `${words(name)} ${view}  ` : view;
	})), h('span.val', num(m.similarity, 2)));

const block = (title, note, ...content) => h('div.stack.tight', h('h3', title), content, note && h('p.small.mute', note));

export function answer(made, it, list, row, path) {
	const p = made.predictions[0];
	const { attention: entries = [], features = [], memories = [] } = p.explanation ?? {};
	const numeric = p.label == null && p.value != null;
	const fired = units(p);
	const labels = Object.entries(p.probabilities ?? {}).sort((a, b) => b[1] - a[1]);
	const known = it.schema.classes?.length ? it.schema.classes : labels.map(([name]) => name);
	const truth = numeric ? h('input', { type: 'number', step: 'any', label: 'True value', value: p.value }) : select(known, p.label, { label: 'True label' });
	return h('div.answer',
		h('p.big', { id: 'answer' }, numeric ? num(p.value, 5) : p.label, ' ', h('small', !numeric ? percent(p.probability) : p.interval ? `${num(p.interval[0], 4)} to ${num(p.interval[1], 4)}` : '')),
		labels.length > 1 ? bars(labels, percent, 10, 1) : null,
		p.set ? h('p.row', h('span.small.mute', 'Conformal set at this coverage:'), p.set.length ? p.set.map((one) => h('span.chip.good', one)) : h('span.chip.warn', 'empty')) : null,
		p.verdict ? h('p.row', h('span.small.mute', 'Verdict:'), h(p.verdict === 'sure' ? 'span.chip.good' : 'span.chip.warn', p.verdict)) : null,
		novelty(p),
		entries.length ? block('Attention', '', attention(entries, list, row)) : null,
		features.length ? block('Contributions of the features', '', reasons(features, entries, list, row)) : null,
		memories.length ? block('Retrieved memories', 'with their similarity', h('ul.bars', memories.slice(0, 6).map((m) => memoryRow(m, list)))) : null,
		fired.length ? block('Active units', `The ${fired.length} most active units, by index.`, raster([fired], Math.max(...fired.map(([unit]) => unit)) + 1, `${fired.length} active units`)) : null,
		p.prediction_id ? h('div.row', h('span.small.mute', 'True value or label'), truth, act('Send feedback', async () => {
			await post(`${path}/feedback`, { prediction_id: p.prediction_id, target: numeric ? Number(truth.value) : truth.value });
			toast('Learned.');
		}, 'button.slim')) : null,
		h('p.small.mute', `Predicted by version ${made.version}.`));
}
