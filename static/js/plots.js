// Charts of answers and of figures with intervals: a number line, a waterfall, points, words.

import { h, s, num, style, part, cell, note } from './dom.js';
import { sized, ticks, padded, bounds, axes } from './charts.js';

// A value with its interval on a line from `low` to `high`; `truth` is a mark where it is known.
export function numberLine({ value, interval, truth, range: [low, high], name }) {
	const [from, to] = padded([low, high, value, ...(interval ?? []), ...(truth == null ? [] : [truth])], 0.03);
	const text = `${name}: ${num(value, 5)}${interval ? `, interval from ${num(interval[0], 4)} to ${num(interval[1], 4)}` : ''}${truth == null ? '' : `, true value ${num(truth, 5)}`}`;
	return sized(58, (w) => {
		const X = (v) => 8 + ((v - from) / (to - from)) * (w - 16);
		return s('svg', { width: w, height: 58, role: 'img', label: text },
			s('line.dash', { x1: 8, x2: w - 8, y1: 24, y2: 24 }),
			ticks([from, to], w / 100).map((v) => [s('line.grid', { x1: X(v), x2: X(v), y1: 20, y2: 29 }), s('text', { x: X(v), y: 48, 'text-anchor': X(v) < 24 ? 'start' : X(v) > w - 24 ? 'end' : 'middle' }, num(v))]),
			interval ? s('rect.band', { x: X(interval[0]), y: 16, width: Math.max(2, X(interval[1]) - X(interval[0])), height: 16, rx: 4 }) : null,
			truth == null ? null : s('line.truth', { x1: X(truth), x2: X(truth), y1: 8, y2: 40 }),
			s('circle.c1', { cx: X(value), cy: 24, r: 6 }));
	});
}

/**
 * From the baseline to the output, step by step. `steps`: `[[name, weight, value]]`; what is not listed is one step at the end.
 */
export function waterfall(steps, baseline, output, limit = 10) {
	const shown = steps.slice(0, limit);
	const rest = output - baseline - shown.reduce((sum, [, weight]) => sum + weight, 0);
	const more = steps.length - shown.length;
	const all = [...shown, ...(Math.abs(rest) > 1e-6 * (1 + Math.abs(output)) ? [[more ? `${more} others` : 'others', rest]] : [])];
	let at = baseline;
	const placed = all.map(([name, weight, value]) => { at += weight; return { name, weight, value, from: at - weight, to: at }; });
	const [low, high] = padded([baseline, output, ...placed.map((one) => one.to)], 0.02);
	const share = (v) => (v - low) / (high - low || 1);
	const bar = (from, to, name) => h('span.track', { 'aria-hidden': 'true' }, style(h('b'), { left: part(share(baseline)), width: '1px' }),
		style(h(name), { left: part(Math.min(share(from), share(to))), width: `max(2px, ${part(Math.abs(share(to) - share(from)))})` }));
	const end = (name, v) => h('li.total', h('span.name', name), bar(v, v, 'i'), h('span.val', num(v)));
	return h('ul.bars.fall', end('training mean', baseline), placed.map((one) => h('li', h('span.name', { title: one.name }, one.name, one.value === undefined ? null : h('span.mute', ` = ${cell(one.value, 24)}`)),
		bar(one.from, one.to, one.weight < 0 ? 'i.neg' : 'i'), h('span.val', `${one.weight > 0 ? '+' : '−'}${num(Math.abs(one.weight), 2)}`))), end('this row', output));
}

// A text with its words coloured by weight. Offsets count code points.
export function highlighted(text, words) {
	const letters = [...text];
	const strongest = Math.max(...words.map((one) => Math.abs(one.weight)), 1e-12);
	const parts = [];
	let at = 0;
	for (const { start, end, weight } of words.toSorted((a, b) => a.start - b.start)) {
		if (start < at) continue;
		parts.push(letters.slice(at, start).join(''), h('span', { title: num(weight, 2) }, style(h(weight < 0 ? 'i.neg' : 'i', { 'aria-hidden': 'true' }), { opacity: (Math.abs(weight) / strongest) * 0.6 }), letters.slice(start, end).join('')));
		at = end;
	}
	return h('p.tokens.text', parts, letters.slice(at).join(''));
}

/**
 * Points `[[x, y]]` over axes with names. With `diagonal` both axes are the same and the line of equality is drawn,
 * else the line of zero.
 */
export function scatter(title, points, { xLabel, yLabel, diagonal, height = 280 }) {
	const xs = points.map((p) => p[0]);
	const ys = points.map((p) => p[1]);
	return h('figure', note(yLabel), sized(height, (full) => {
		const w = diagonal ? Math.min(full, 460) : full;
		const x = diagonal ? padded([...xs, ...ys], 0.03) : padded(xs, 0.03);
		const y = diagonal ? x : padded([0, ...ys], 0.05);
		const { X, Y, line, grid } = axes(w, height, x, y);
		return s('svg', { width: w, height, role: 'img', label: `${title}: ${points.length} points, ${xLabel} from ${num(bounds(xs)[0])} to ${num(bounds(xs)[1])}, ${yLabel} from ${num(bounds(ys)[0])} to ${num(bounds(ys)[1])}` },
			grid(), diagonal ? line('dash', x[0], x[0], x[1], x[1]) : line('dash', x[0], 0, x[1], 0),
			points.map(([a, b]) => s('circle.c1.dot', { cx: X(a).toFixed(1), cy: Y(b).toFixed(1), r: 2.5 })));
	}), h('p.small.mute.end', xLabel));
}

// Counts in bins `[[from, count]]` as columns.
export function columns(title, bins, { height = 150, format = num, xLabel = '' } = {}) {
	const most = Math.max(...bins.map(([, n]) => n), 1);
	return h('figure', sized(height, (w) => {
		const bottom = height - 22;
		const wide = w / bins.length;
		const every = Math.max(1, Math.ceil(bins.length / Math.max(2, Math.floor(w / 70))));
		return s('svg', { width: w, height, role: 'img', label: `${title}: ${bins.map(([from, n]) => `from ${format(from)}: ${n}`).join('; ')}` },
			s('line.dash', { x1: 0, x2: w, y1: bottom, y2: bottom }),
			bins.map(([from, n], i) => [n ? s('rect.c1', { x: i * wide + 1, y: bottom - (n / most) * (bottom - 6), width: Math.max(1, wide - 2), height: (n / most) * (bottom - 6) }) : null,
				i % every ? null : s('text', { x: i * wide + 1, y: height - 6 }, format(from))]));
	}), xLabel ? h('p.small.mute.end', xLabel) : null);
}

// Figures of two sides, with the interval of their difference around zero.
export function differences(rows) {
	return h('ul.bars.diff', rows.map(({ name, difference, interval, text, verdict }) => {
		const top = Math.max(...interval.map(Math.abs), Math.abs(difference), 1e-12) * 1.1;
		const place = (v) => 0.5 + v / top / 2;
		return h('li', h('span.name', name), h('span.track', { 'aria-hidden': 'true' }, style(h('b'), { left: part(place(interval[0])), width: part(place(interval[1]) - place(interval[0])) }),
			style(h('i.zero'), { left: '50%' }), style(h('i.point'), { left: part(place(difference)) })), h('span.val', text, ' ', h('span.chip', { class: `chip ${verdict[1]}` }, verdict[0])));
	}));
}
