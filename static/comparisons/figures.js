// Pictures of a comparison as SVG that can be saved.

import { h, s, num, scroller } from '../js/dom.js';
import { ticks, padded } from '../js/charts.js';

const WIDTH = 640;

// From similar to dissimilar, readable without colour vision.
const RAMP = [[68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37]];
const colour = (share) => {
	const at = Math.min(RAMP.length - 2, Math.floor(share * (RAMP.length - 1)));
	const part = share * (RAMP.length - 1) - at;
	return RAMP[at].map((v, i) => Math.round(v + part * (RAMP[at + 1][i] - v)));
};

// The index of the pair (i, j) among `n` stimuli.
const pair = (n, i, j) => (i < j ? i * n - (i * (i + 1)) / 2 + j - i - 1 : pair(n, j, i));
const entry = (values, n, i, j) => (i === j ? 0 : values[pair(n, i, j)]);

function canvas(width, height, paint) {
	const node = Object.assign(document.createElement('canvas'), { width, height });
	const context = node.getContext('2d');
	const image = context.createImageData(width, height);
	for (let at = 0; at < width * height; at += 1) image.data.set([...paint(at % width, Math.floor(at / width)), 255], at * 4);
	context.putImageData(image, 0, 0);
	return node.toDataURL();
}

const svg = (height, label, ...content) => s('svg.figure', { viewBox: `0 0 ${WIDTH} ${height}`, role: 'img', label }, content);

// A picture, and buttons that save it and its numbers.
export function figure(title, node, rows, note) {
	const name = title.toLowerCase().replace(/[^a-z0-9]+/g, '-');
	const button = (kind, type, text) => h('button.slim', { onclick: () => save(`${name}.${kind.toLowerCase()}`, text(), type), label: `${kind} of ${title}` }, kind);
	return h('figure.stack.tight', h('div.row.between', h('h2', title), h('div.row', button('SVG', 'image/svg+xml', () => drawn(node)), button('CSV', 'text/csv', () => csv(rows())))), note ? scroller(title, node) : node, note ? h('figcaption.small.mute', note) : null);
}

function save(name, text, type) {
	const url = URL.createObjectURL(new Blob([text], { type }));
	Object.assign(document.createElement('a'), { href: url, download: name }).click();
	setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

const csv = (rows) => rows.map((row) => row.map((v) => (/[",\n]/.test(v ?? '') ? `"${String(v).replaceAll('"', '""')}"` : v ?? '')).join(',')).join('\n');

// The picture with the page's colours and sizes as attributes.
function drawn(node) {
	const copy = node.cloneNode(true);
	const own = [node, ...node.querySelectorAll('*')];
	for (const [i, one] of [copy, ...copy.querySelectorAll('*')].entries()) {
		const seen = getComputedStyle(own[i]);
		for (const name of ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'opacity', 'font-size', 'font-family']) one.setAttribute(name, seen.getPropertyValue(name));
		one.removeAttribute('class');
	}
	copy.setAttribute('xmlns', 'http://www.w3.org/2000/svg');
	return new XMLSerializer().serializeToString(copy);
}

// A dissimilarity matrix, coloured by rank.
export function heatmap({ system, values }, conditions) {
	const n = conditions.length;
	const ranks = new Float32Array(values.length);
	const order = Array.from(values.keys()).sort((a, b) => values[a] - values[b]);
	order.forEach((at, rank) => { ranks[at] = rank && values[at] === values[order[rank - 1]] ? ranks[order[rank - 1]] : rank / order.length; });
	// Beyond 512 stimuli a pixel shows one of several.
	const size = Math.min(n, 512);
	const at = (v) => Math.floor((v * n) / size);
	const href = canvas(size, size, (x, y) => (at(x) === at(y) ? [255, 255, 255] : colour(ranks[pair(n, at(x), at(y))])));
	return figure(system, svg(WIDTH, `Dissimilarities of ${n} stimuli in ${system}, by rank`, s('image', { href, width: WIDTH, height: WIDTH, 'image-rendering': 'pixelated' })),
		() => [['', ...conditions], ...conditions.map((name, i) => [name, ...conditions.map((_, j) => entry(values, n, i, j))])]);
}

export const scale = () => h('p.row.small.mute', 'similar', h('i.scale'), 'dissimilar, by rank');

const LEFT = 52;
const whisker = (x, low, high) => s('path.whisker', { d: `M${x} ${low}V${high}M${x - 4} ${low}h8M${x - 4} ${high}h8` });

// The axis of similarities: how to place one, and the lines, the ceiling and the intervals.
function axis(items, ceiling, bottom) {
	const [low, high] = padded([0, ...items.flatMap((one) => one.interval ?? [one.value]), ...Object.values(ceiling ?? {})], 0.05);
	const Y = (v) => bottom - ((v - low) / (high - low)) * (bottom - 10);
	return [Y, [ticks([low, high], 6).map((v) => [s('line.grid', { x1: LEFT, x2: WIDTH, y1: Y(v), y2: Y(v) }), s('text', { x: LEFT - 6, y: Y(v) + 4, 'text-anchor': 'end' }, num(v))]),
		ceiling && s('rect.ceiling', { x: LEFT, width: WIDTH - LEFT, y: Y(ceiling.upper), height: Math.max(2, Y(ceiling.lower) - Y(ceiling.upper)) })],
	(x, { interval }) => interval && whisker(x, Y(interval[0]), Y(interval[1]))];
}

const rowsOf = (items) => [['system', 'reference', 'similarity', 'low', 'high', 'p_zero', 'q_zero', 'p_ceiling', 'q_ceiling'], ...items.map((one) => [one.a, one.b, one.value, ...(one.interval ?? ['', '']), one.p_zero, one.q_zero, one.p_ceiling, one.q_ceiling])];
const listed = (items) => items.map((one) => `${one.a} ${num(one.value)}`).join(', ');

// How similar each system is to the reference: a bar each, by name underneath.
export function similarities(items, ceiling, compare) {
	const bottom = 250;
	const [Y, behind, spread] = axis(items, ceiling, bottom);
	const step = (WIDTH - LEFT) / items.length;
	const title = `Similarity to ${items[0].b}`;
	const node = svg(440, `${title}: ${listed(items)}`, behind, items.map((one, i) => {
		const x = LEFT + (i + 0.5) * step;
		return [s('rect.c1', { x: x - step * 0.3, width: step * 0.6, y: Math.min(Y(one.value), Y(0)), height: Math.max(1, Math.abs(Y(one.value) - Y(0))) }), spread(x, one),
			one.q_zero < 0.05 ? s('text', { x, y: 14, 'text-anchor': 'middle' }, '*') : null,
			s('text', { x, y: bottom + 18, 'text-anchor': 'end', transform: `rotate(-60 ${x} ${bottom + 18})` }, one.a.length > 24 ? `${one.a.slice(0, 12)}…${one.a.slice(-11)}` : one.a)];
	}), s('line.axis', { x1: LEFT, x2: WIDTH, y1: Y(0), y2: Y(0) }));
	return figure(title, node, () => rowsOf(items), `${compare}; lines are 95 % intervals${ceiling ? ', the band is the noise ceiling' : ''}. * above zero at a false discovery rate of 5 %.`);
}

// The same from layer to layer, a line for each model.
export function curve(models, ceiling, compare) {
	const lines = [...models.values()];
	const [Y, behind, spread] = axis(lines.flat(), ceiling, 230);
	const most = Math.max(...lines.map((one) => one.length));
	const X = (i) => LEFT + 30 + (i / (most - 1)) * (WIDTH - LEFT - 90);
	const node = svg(270, `Similarity by layer: ${listed(lines.flat())}`, behind, lines.map((items, c) => [
		s('path', { class: `line c${(c % 4) + 1}`, d: `M${items.map((one, i) => `${X(i)} ${Y(one.value)}`).join('L')}` }),
		items.map((one, i) => [spread(X(i), one), s('circle', { class: `c${(c % 4) + 1}`, cx: X(i), cy: Y(one.value), r: 4 }), c ? null : s('text', { x: X(i), y: 254, 'text-anchor': 'middle' }, one.layer)])]));
	return figure('Layer by layer', node, () => rowsOf(lines.flat()), `${compare}, in the order of the request: ${[...models.keys()].join(', ')}.`);
}

// The two largest axes of classical scaling; dissimilarities count as squared distances.
function plane(values, n) {
	const at = (i, j) => entry(values, n, i, j);
	const means = Array.from({ length: n }, (_, i) => Array.from({ length: n }, (_, j) => at(i, j)).reduce((a, b) => a + b) / n);
	const mean = means.reduce((a, b) => a + b) / n;
	const matrix = means.map((own, i) => Float64Array.from(means, (other, j) => -0.5 * (at(i, j) - own - other + mean)));
	// A shift makes the largest eigenvalue the one of largest size.
	const shift = Math.max(...matrix.map((row) => row.reduce((a, v) => a + Math.abs(v), 0)));
	let first;
	const axes = [0, 1].map((axis) => {
		let v = Float64Array.from({ length: n }, (_, i) => Math.sin(i * (axis + 1) + 1));
		let size = 1;
		for (let round = 0; round < 300; round += 1) {
			if (axis) {
				const along = first.reduce((sum, u, i) => sum + u * v[i], 0);
				v = v.map((x, i) => x - along * first[i]);
			}
			const next = v.map((x, i) => matrix[i].reduce((sum, m, j) => sum + m * v[j], shift * x));
			size = Math.hypot(...next) || 1;
			v = next.map((x) => x / size);
		}
		first ??= v;
		return { unit: v, value: Math.max(0, size - shift) };
	});
	const total = matrix.reduce((sum, row, i) => sum + Math.max(0, row[i]), 0) || 1;
	return [axes.map(({ unit, value }) => unit.map((x) => x * Math.sqrt(value))), (axes[0].value + axes[1].value) / total];
}

// Stimuli in a plane, similar ones near each other. `pictures[i]` is an image's address; `groups[i]` a number from 1 to 4.
export function scatter({ system, values }, conditions, pictures = [], groups = []) {
	const n = conditions.length;
	const [[x, y], share] = plane(values, n);
	const half = Math.max(...x.map(Math.abs), ...y.map(Math.abs), 1e-12);
	const [side, size] = [480, pictures.length ? 26 : 5];
	const place = (v) => side / 2 + (v / half) * (side / 2 - 20);
	const node = svg(side, `${n} stimuli of ${system} in a plane`, s('g', { transform: `translate(${(WIDTH - side) / 2} 0)` }, conditions.map((name, i) => {
		const [left, top] = [place(x[i]), place(-y[i])];
		return s('g', s('title', name), groups[i] ? s('circle', { class: `c${groups[i]}`, cx: left, cy: top, r: pictures[i] ? size * 0.72 : size }) : null,
			pictures[i] ? s('image', { href: pictures[i], x: left - size / 2, y: top - size / 2, width: size, height: size }) : groups[i] ? null : s('circle.c1', { cx: left, cy: top, r: size }));
	})));
	return figure(`Stimuli in ${system}`, node, () => [['stimulus', 'x', 'y'], ...conditions.map((name, i) => [name, x[i], y[i]])], `Classical scaling; the plane keeps ${num(share * 100, 2)} % of the positive variance.`);
}

// A picture from its numbers, row by row.
export function thumbnail(values, [height, width, channels = 1]) {
	const top = Math.max(...values) > 1 ? 1 : 255;
	return canvas(width, height, (x, y) => [0, 1, 2].map((c) => (values[(y * width + x) * channels + (channels > 1 ? c : 0)] ?? 0) * top));
}
