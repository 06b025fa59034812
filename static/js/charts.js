// Charts as SVG or on a canvas, each with a text for screen readers.

import { h, s, put, num, percent, style, part, scroller } from './dom.js';

// Drawn again when its width changes; of fixed height, so that nothing jumps.
function sized(height, draw) {
	const box = style(h('div.chart'), { height: `${height}px` });
	let last = 0;
	new ResizeObserver(() => {
		if (box.clientWidth === last) return;
		last = box.clientWidth;
		put(box, draw(last));
	}).observe(box);
	return box;
}

function ticks([low, high], count) {
	const span = high - low;
	const step = 10 ** Math.floor(Math.log10(span / count));
	const unit = [1, 2, 5, 10].map((n) => n * step).find((n) => span / n <= count);
	const first = Math.ceil(low / unit);
	return Array.from({ length: Math.floor(high / unit + 1e-6) - first + 1 }, (_, i) => +((first + i) * unit).toPrecision(12));
}

const bounds = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

// With a margin, so that no line lies on the edge.
function padded(values, share) {
	const [low, high] = bounds(values);
	const margin = (high - low) * share || (low === high ? Math.abs(low) / 20 || 0.5 : 0);
	return [low - margin, high + margin];
}

// A path over at most `limit` of the points, evenly taken, the last always.
function path(points, X, Y, limit) {
	const step = Math.max(1, (points.length - 1) / (limit - 1));
	const shown = Array.from({ length: Math.min(points.length, limit) }, (_, i) => points[Math.round(i * step)]);
	return `M${shown.map(([x, y]) => `${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join('L')}`;
}

/**
 * Lines over one axis. `series`: `[{name, points: [[x, y]], color: 1..4}]`; `marks`: rows of drift; `format`
 * writes y values. With `unit`, both axes go from 0 to 1 and a diagonal is drawn; `size(i)` makes dots; `bare` is
 * for a list.
 */
export function lines(title, series, { height = 200, format = num, xLabel = 'epoch', marks = [], unit, size, bare } = {}) {
	const shown = series.filter((one) => one.points.length);
	if (!shown.length) return h('p.mute.small', 'No points yet.');
	const legend = unit || bare ? null : h('ul.legend', shown.map((one) =>
		h('li', h('i', { class: `c${one.color}` }), one.name, ' ', h('b', format(one.points.at(-1)[1])))), marks.length ? h('li', h('i.c4'), 'drift') : null);
	const summary = `${title}. ${shown.map((one) => (unit ? one.points.map(([x, y]) => `confidence ${format(x)}, accuracy ${format(y)}`).join('; ')
		: `${one.name}: from ${format(one.points[0][1])} to ${format(one.points.at(-1)[1])} over ${one.points.length} points`)).join('; ')}`;
	const box = sized(height, (full) => {
		const w = unit ? Math.min(full, 320) : full;
		const [left, right, top, bottom] = bare ? [2, w - 2, 4, height - 4] : [46, w - 10, 8, height - 24];
		const all = shown.flatMap((one) => one.points);
		const [x, y] = unit ? [[0, 1], [0, 1]] : [padded(all.map((p) => p[0]), 0), padded(all.map((p) => p[1]), 0.06)];
		const X = (v) => left + ((v - x[0]) / (x[1] - x[0])) * (right - left);
		const Y = (v) => bottom - ((v - y[0]) / (y[1] - y[0])) * (bottom - top);
		const line = (name, x1, y1, x2, y2) => s(`line.${name}`, { x1, y1, x2, y2 });
		return s('svg', { width: w, height, role: 'img', label: summary },
			bare ? null : [
				ticks(y, 4).map((v) => [line('grid', left, Y(v), right, Y(v)), s('text', { x: left - 7, y: Y(v) + 4, 'text-anchor': 'end' }, format(v))]),
				ticks(x, Math.max(2, Math.floor(w / 90))).map((v) => s('text', { x: X(v), y: height - 7, 'text-anchor': 'middle' }, unit ? format(v) : num(v))),
				unit ? line('dash', X(0), Y(0), X(1), Y(1)) : s('text', { x: 0, y: height - 7 }, xLabel),
			],
			marks.filter((v) => v >= x[0] && v <= x[1]).map((v) => line('mark', X(v), top, X(v), bottom)),
			shown.map((one) => [
				s('path', { class: `line c${one.color}`, d: path(one.points, X, Y, Math.max(60, Math.floor(w / 2))) }),
				size || one.points.length === 1 ? one.points.map((p, i) => s('circle', { class: `c${one.color}`, cx: X(p[0]), cy: Y(p[1]), r: size?.(i) ?? 3 })) : null,
			]));
	});
	return h('figure', legend, box);
}

// Confidence against accuracy. `points`: `[{confidence, accuracy, rows}]`.
export function calibration(points) {
	const most = Math.max(...points.map((p) => p.rows ?? 1), 1);
	return [lines('Calibration', [{ points: points.map((p) => [p.confidence, p.accuracy]), color: 1 }],
		{ unit: true, height: 220, format: (v) => percent(v, 0), size: (i) => 2 + 4 * Math.sqrt((points[i].rows ?? 1) / most) }),
	h('p.small.mute', 'Confidence (horizontal) against accuracy (vertical); they are equal on the dashed line.')];
}

export function histogram(counts, label) {
	const top = Math.max(...counts, 1);
	const w = 110 / counts.length;
	return s('svg.hist', { viewBox: '0 0 110 26', role: 'img', label }, counts.map((n, i) => {
		const height = n ? Math.max(1, (n / top) * 25) : 0.5;
		return s(n ? 'rect.c1' : 'rect', { x: i * w, y: 26 - height, width: Math.max(0.5, w - 1), height });
	}));
}

// Named bars from zero; negative ones are drawn to the left of the middle. `of` is the whole.
export function bars(items, format = num, limit = 12, of = 0) {
	const shown = items.slice(0, limit);
	const signed = shown.some(([, value]) => value < 0);
	const top = of || Math.max(...shown.map(([, value]) => Math.abs(value)), 1e-12);
	return h('ul.bars', shown.map(([name, value], i) => {
		const share = Math.abs(value) / top / (signed ? 2 : 1);
		const bar = style(h(value < 0 ? 'i.neg' : 'i'), { width: part(share), left: signed ? part(value < 0 ? 0.5 - share : 0.5) : 0 });
		return h(i || signed ? 'li' : 'li.first', h('span.name', { title: name }, name), h('span.track', { 'aria-hidden': 'true' }, bar), h('span.val', format(value)));
	}));
}

// Truth by row, prediction by column. Beyond 24 classes only the most frequent confusions are shown.
export function confusion(labels, matrix) {
	const sums = matrix.map((row) => row.reduce((a, b) => a + b, 0));
	const wrong = matrix.flatMap((row, i) => row.map((n, j) => [n, i, j])).filter(([n, i, j]) => n && i !== j).sort((a, b) => b[0] - a[0]);
	const worst = h('p.small.mute', wrong.length
		? `Most frequent confusions: ${wrong.slice(0, 3).map(([n, i, j]) => `${labels[i]} predicted as ${labels[j]} (${n})`).join(', ')}.` : 'No confusions.');
	if (labels.length > 24) {
		const right = labels.map((name, i) => [name, sums[i] ? matrix[i][i] / sums[i] : 0]).sort((a, b) => a[1] - b[1]);
		return [bars(right, percent, 16, 1), h('p.small.mute', 'Recall of each class, the lowest first.'), worst];
	}
	const head = (scope, name) => h('th', { scope, title: name }, name);
	return [scroller('Confusion matrix', h('table.heat',
		h('caption.sr', 'Rows are the truth, columns the predictions'),
		h('thead', h('tr', h('th', { scope: 'col' }, h('span.sr', 'truth')), labels.map((name) => head('col', name)))),
		h('tbody', matrix.map((row, i) => h('tr', head('row', labels[i]), row.map((n, j) =>
			h(i === j ? 'td' : 'td.off', { title: `${labels[i]} predicted as ${labels[j]}: ${n}` },
				style(h('i', { 'aria-hidden': 'true' }), { opacity: sums[i] ? (n / sums[i]) * 0.45 : 0 }), n || h('span.mute', '·')))))))), worst];
}

// Active units: a line a row, a lit dot per active unit of `[[unit, strength]]`; `most` units in all.
export function raster(rows, most, label) {
	const cols = Math.min(most, 512);
	const tall = rows.length > 1 ? 8 : 24;
	const canvas = style(h('canvas.raster', { width: cols, height: rows.length * tall, role: 'img', label }), { height: `${rows.length * tall}px` });
	const dots = canvas.getContext('2d');
	rows.forEach((units, y) => {
		const top = Math.max(...units.map(([, strength]) => Math.abs(strength)), 1e-9);
		for (const [unit, strength] of units) {
			dots.fillStyle = `rgba(233, 150, 50, ${0.35 + 0.65 * (Math.abs(strength) / top)})`;
			dots.fillRect(Math.floor((unit / most) * cols), y * tall + 1, most > 99 ? 1.5 : 0.9, tall - 2);
		}
	});
	return canvas;
}

/**
 * A grid as a small picture: of numbers, or of an image's base64 text. `tint` lays a second grid of `tint.length`
 * cells over it, amber for what is above zero, blue for what is below. `top` is white even if nothing reaches it.
 */
export function picture(values, [rows, cols], size, tint, top = 0) {
	const canvas = style(h('canvas.thumb', { width: cols, height: rows, role: 'img', label: `picture of ${rows} by ${cols}` }),
		{ width: `${size}px`, height: `${Math.round((size * rows) / cols)}px` });
	const pen = canvas.getContext('2d');
	const lay = () => {
		const strongest = Math.max(...tint.map(Math.abs), 1e-9);
		const side = Math.sqrt(tint.length);
		const [across, down] = tint.length === rows * cols ? [cols, rows] : [side, side];
		tint.forEach((t, i) => {
			pen.fillStyle = `rgba(${t >= 0 ? '240, 160, 60' : '90, 130, 240'}, ${(Math.abs(t) / strongest) * 0.8})`;
			pen.fillRect((i % across) * (cols / across), Math.floor(i / across) * (rows / down), cols / across, rows / down);
		});
	};
	if (typeof values === 'string') {
		const image = imageOf(values, () => { pen.drawImage(image, 0, 0, cols, rows); if (tint) lay(); });
	} else {
		const [low, high] = bounds([0, top, ...values]);
		const image = new ImageData(cols, rows);
		values.forEach((v, i) => { const grey = ((v - low) / (high - low || 1)) * 255; image.data.set([grey, grey, grey, 255], i * 4); });
		pen.putImageData(image, 0, 0);
		if (tint) lay();
	}
	return canvas;
}

export const imageOf = (data, onload) => h('img', { src: `data:image/${data.startsWith('/9j') ? 'jpeg' : 'png'};base64,${data}`, alt: '', onload });
