// Charts as SVG or on a canvas, each with a text for screen readers.

import { h, s, put, num, percent, style, part, scroller, note } from './dom.js';

// Drawn again when its width changes; of fixed height, so that nothing jumps.
export function sized(height, draw) {
	const box = style(h('div.chart'), { height: `${height}px` });
	let last = 0;
	new ResizeObserver(() => {
		if (box.clientWidth === last) return;
		last = box.clientWidth;
		put(box, draw(last));
	}).observe(box);
	return box;
}

export function ticks([low, high], count) {
	const span = high - low;
	count = Math.max(2, Math.floor(count));
	if (!(span > 0)) return [low];
	const step = 10 ** Math.floor(Math.log10(span / count));
	const unit = [1, 2, 5, 10].map((n) => n * step).find((n) => span / n <= count);
	const first = Math.ceil(low / unit - 1e-9);
	return Array.from({ length: Math.floor(high / unit + 1e-6) - first + 1 }, (_, i) => +((first + i) * unit).toPrecision(12));
}

const STEPS = [1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400];

// The same for times in milliseconds, and how to write them.
function timeTicks([low, high], count) {
	const unit = 1000 * (STEPS.find((s) => (high - low) / 1000 / s <= count) ?? STEPS.at(-1));
	const shift = new Date(low).getTimezoneOffset() * 60_000;
	const first = Math.ceil((low - shift) / unit) * unit + shift;
	const at = Array.from({ length: Math.max(0, Math.floor((high - first) / unit) + 1) }, (_, i) => first + i * unit);
	const write = unit >= 86_400_000 ? { month: 'short', day: 'numeric', year: unit > 1e10 ? 'numeric' : undefined } : { hour: '2-digit', minute: '2-digit', hour12: false, second: unit < 60_000 ? '2-digit' : undefined };
	return [at.length ? at : [low], (t) => new Date(t).toLocaleString('en', write)];
}

export const bounds = (values) => values.reduce(([low, high], v) => [Math.min(low, v), Math.max(high, v)], [Infinity, -Infinity]);

// With a margin, so that no line lies on the edge, but never beyond what is possible.
export function padded(values, share, [least, most] = [-Infinity, Infinity]) {
	const [low, high] = bounds(values);
	const margin = (high - low) * share || (low === high ? Math.abs(low) / 20 || 0.5 : 0);
	return [Math.max(least, low - margin), Math.min(most, high + margin)];
}

// A path over at most `limit` of the points, evenly taken, the last always.
function path(points, X, Y, limit) {
	const step = Math.max(1, (points.length - 1) / (limit - 1));
	const shown = Array.from({ length: Math.min(points.length, limit) }, (_, i) => points[Math.round(i * step)]);
	return `M${shown.map(([x, y]) => `${X(x).toFixed(1)} ${Y(y).toFixed(1)}`).join('L')}`;
}

// Axes between the ends `x` and `y`: what places a value, and the grid with its labels, below those of `xs`.
export function axes(w, height, x, y, { format = num, xs = ticks(x, w / 90), write = num, bare } = {}) {
	const rows = ticks(y, height / 36);
	const written = rows.map((v) => format(v, 0));
	// As many digits as make the labels of the grid differ.
	const labels = new Set(written).size === written.length ? written : rows.map((v) => format(v));
	const [left, right, top, bottom] = bare ? [2, w - 2, 4, height - 4] : [14 + 6.2 * Math.max(...labels.map((one) => one.length)), w - 10, 8, height - 24];
	const X = (v) => left + ((v - x[0]) / (x[1] - x[0])) * (right - left);
	const Y = (v) => bottom - ((v - y[0]) / (y[1] - y[0])) * (bottom - top);
	const line = (name, x1, y1, x2, y2) => s(`line.${name}`, { x1: X(x1), y1: Y(y1), x2: X(x2), y2: Y(y2) });
	return { left, right, top, bottom, X, Y, line,
		grid: (from = 0) => [rows.map((v, i) => [line('grid', x[0], v, x[1], v), s('text', { x: left - 7, y: Y(v) + 4, 'text-anchor': 'end' }, labels[i])]),
			xs.filter((v) => X(v) >= left + from).map((v) => s('text', { x: X(v), y: height - 7, 'text-anchor': X(v) > w - 30 ? 'end' : 'middle' }, write(v)))] };
}

/**
 * Lines over one axis. `series`: `[{name, points: [[x, y]], color: 1..4}]`; `marks`: `[{at, name, color}]`; `format`
 * writes y values, which lie within `limits`. With `unit`, both axes go from 0 to 1 and a diagonal is drawn; with `time`, x are
 * milliseconds; `tint` colours the steps behind the lines, amber above zero, blue below; `size(i)` makes dots; `bare` is for a list.
 */
export function lines(title, series, { height = 200, format = num, limits, xLabel = 'epoch', marks = [], unit, time, tint, size, bare } = {}) {
	const shown = series.filter((one) => one.points.length);
	if (!shown.length) return note('No points yet.');
	const kinds = [...new Map(marks.map((one) => [one.name, one])).values()];
	const legend = unit || bare ? null : h('ul.legend', shown.map((one) =>
		h('li', h('i', { class: `c${one.color}` }), one.name, ' ', tint ? null : h('b', format(one.points.at(-1)[1])))), kinds.map((one) => h('li', h('i.dashed', { class: `dashed c${one.color}` }), one.name)));
	const summary = `${title}. ${shown.map((one) => (unit ? one.points.map(([x, y]) => `confidence ${format(x)}, accuracy ${format(y)}`).join('; ')
		: `${one.name}: from ${format(one.points[0][1])} to ${format(one.points.at(-1)[1])} over ${one.points.length} points`)).join('; ')}`;
	const box = sized(height, (full) => {
		const w = unit ? Math.min(full, 320) : full;
		const all = shown.flatMap((one) => one.points);
		const [x, y] = unit ? [[0, 1], [0, 1]] : [padded([...all.map((p) => p[0]), ...marks.map((one) => one.at)], 0), padded(all.map((p) => p[1]), 0.06, limits)];
		const [xs, write] = time ? timeTicks(x, w / 110) : unit ? [undefined, (v) => format(v, 0)] : [];
		const { left, right, top, bottom, X, Y, line, grid } = axes(w, height, x, y, { format, xs, write, bare });
		const strongest = tint && Math.max(...tint.map(Math.abs), 1e-12);
		const step = tint && (right - left) / tint.length;
		return s('svg', { width: w, height, role: 'img', label: summary },
			tint?.map((v, i) => s(`rect.${v > 0 ? 'for' : 'against'}`, { x: left + i * step, y: top, width: step + 0.5, height: bottom - top, opacity: +((Math.abs(v) / strongest) * 0.75).toFixed(3) })),
			bare ? null : unit ? [grid(), line('dash', 0, 0, 1, 1)] : [grid(3.2 * xLabel.length), s('text', { x: 0, y: height - 7 }, xLabel)],
			marks.filter(({ at }) => at >= x[0] && at <= x[1]).map(({ at, color }) => line(`mark.c${color}`, at, y[0], at, y[1])),
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
	note('Confidence (horizontal) against accuracy (vertical); they are equal on the dashed line.')];
}

export function histogram(counts, label) {
	const top = Math.max(...counts, 1);
	const w = 110 / counts.length;
	return s('svg.hist', { viewBox: '0 0 110 26', role: 'img' }, s('title', label), counts.map((n, i) => {
		const height = n ? Math.max(1, (n / top) * 25) : 0.5;
		return s(n ? 'rect.c1' : 'rect', { x: i * w, y: 26 - height, width: Math.max(0.5, w - 1), height });
	}));
}

/**
 * Named bars from zero; negative ones are drawn to the left of the middle. `of` is the whole. An item is
 * `[name, value, {span, mark, text}]`: `span` is an interval around the value, `mark` singles it out, `text` replaces the figure.
 */
export function bars(items, format = num, limit = 12, of = 0) {
	const shown = items.slice(0, limit);
	const ends = shown.flatMap(([, value, { span = [] } = {}]) => [value, ...span]);
	// What is below zero by chance needs no half of its own.
	const signed = Math.min(...ends) < -0.15 * Math.max(...ends);
	const top = of || Math.max(...ends.map(Math.abs), 1e-12);
	const place = (value) => (signed ? 0.5 + value / top / 2 : Math.max(0, value / top));
	const between = (name, low, high) => style(h(name), { left: part(low), width: part(high - Math.max(0, low)) });
	return h('ul.bars', shown.map(([name, value, { span, mark, text } = {}], i) => h(mark ?? !i ? 'li.first' : 'li', h('span.name', { title: name }, name),
		h('span.track', { 'aria-hidden': 'true' }, between(value < 0 ? 'i.neg' : mark === false ? 'i.dim' : 'i', Math.min(place(0), place(value)), Math.max(place(0), place(value))),
			span && between('b', place(span[0]), place(span[1]))), h('span.val', text ?? format(value)))));
}

// Truth by row, prediction by column; beyond 24 classes the most frequent confusions.
export function confusion(labels, counts) {
	const sums = counts.map((row) => row.reduce((a, b) => a + b, 0));
	const wrong = counts.flatMap((row, i) => row.map((n, j) => [n, i, j])).filter(([n, i, j]) => n && i !== j).sort((a, b) => b[0] - a[0]);
	const worst = note(wrong.length
		? `Most frequent confusions: ${wrong.slice(0, 3).map(([n, i, j]) => `${labels[i]} predicted as ${labels[j]} (${n})`).join(', ')}.` : 'No confusions.');
	if (labels.length > 24) {
		const right = labels.map((name, i) => [name, sums[i] ? counts[i][i] / sums[i] : 0]).sort((a, b) => a[1] - b[1]);
		return [bars(right, percent, 16, 1), note('Recall of each class, the lowest first.'), worst];
	}
	return [matrix('Confusion matrix', labels, counts, (n, i) => [sums[i] ? (n / sums[i]) * 0.45 : 0, n || null]), worst];
}

// A table of classes by classes; `cell(value, i, j)` gives `[strength, text, off?]`.
export function matrix(title, labels, values, cell) {
	const head = (scope, name) => h('th', { scope, title: name }, String(name));
	return scroller(title, h('table.heat',
		h('caption.sr', 'Rows are the truth, columns the predictions'),
		h('thead', h('tr', h('th', { scope: 'col' }, h('span.sr', 'truth')), labels.map((name) => head('col', name)))),
		h('tbody', values.map((row, i) => h('tr', head('row', labels[i]), row.map((n, j) => {
			const [strength, text, off = i !== j] = cell(n, i, j);
			return h(off ? 'td.off' : 'td', { title: `${labels[i]} predicted as ${labels[j]}` }, style(h('i', { 'aria-hidden': 'true' }), { opacity: strength }), text ?? h('span.mute', '·'));
		}))))));
}

// Active units `[[unit, strength]]` of `most`: a line a row.
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
 * A grid as a small picture: of numbers, or of an image's base64 text. `tint` lays a second grid, `[rows][columns]`,
 * over it, amber for what is above zero, blue for what is below. `top` is white even if nothing reaches it.
 */
export function picture(values, [rows, cols], size, tint, top = 0) {
	// So that the finer of the two grids is not lost.
	const fine = tint ? Math.max(1, Math.round(size / cols)) : 1;
	const [w, high] = [cols * fine, rows * fine];
	const canvas = style(h('canvas.thumb', { width: w, height: high, role: 'img', label: `picture of ${rows} by ${cols}${tint ? ' with the contributions of its parts' : ''}` }),
		{ width: `${size}px`, height: `${Math.round((size * rows) / cols)}px` });
	const pen = canvas.getContext('2d');
	pen.imageSmoothingEnabled = false;
	const lay = () => {
		const strongest = Math.max(...tint.flat().map(Math.abs), 1e-9);
		const [across, down] = [w / tint[0].length, high / tint.length];
		tint.forEach((line, y) => line.forEach((t, x) => {
			pen.fillStyle = `rgba(${t >= 0 ? '240, 150, 40' : '70, 120, 255'}, ${(Math.abs(t) / strongest) * 0.8})`;
			pen.fillRect(x * across, y * down, across, down);
		}));
	};
	if (typeof values === 'string') {
		const image = imageOf(values, () => { pen.drawImage(image, 0, 0, w, high); if (tint) lay(); });
	} else {
		const [low, most] = bounds([0, top, ...values]);
		const image = new ImageData(cols, rows);
		values.forEach((v, i) => { const grey = ((v - low) / (most - low || 1)) * 255; image.data.set([grey, grey, grey, 255], i * 4); });
		const plain = tint ? h('canvas', { width: cols, height: rows }) : canvas;
		plain.getContext('2d').putImageData(image, 0, 0);
		if (tint) { pen.drawImage(plain, 0, 0, w, high); lay(); }
	}
	return canvas;
}

export const imageOf = (data, onload) => h('img', { src: `data:image/${data.startsWith('/9j') ? 'jpeg' : 'png'};base64,${data}`, alt: '', onload });
