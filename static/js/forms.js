// Forms generated from a model's columns and a family's settings.

import { h, put, field, check, select, num, words, uid, cell } from './dom.js';
import { lines, picture, imageOf } from './charts.js';

// A model's columns, with their statistics from the dataset.
export const features = (model, dataset) =>
	(model.schema?.features ?? []).map((one) => ({ ...dataset?.columns.find((c) => c.name === one.name), ...one }));

// A group of columns may stand for a list.
export const valueOf = (row, column) => row[column.name] ?? (column.members?.[0] in row ? column.members.map((name) => row[name]) : undefined);

export const square = ({ kind, shape }) => (['vector', 'image'].includes(kind) && shape?.length === 2 ? shape : kind === 'image' ? [28, 28] : null);

const numbers = (text) => (text.match(/-?\d+(\.\d+)?(e[+-]?\d+)?/gi) ?? []).map(Number);

// Puts text into a field so that it is kept, as if it had been typed.
function type(input, text) {
	input.value = text;
	input.dispatchEvent(new Event('input', { bubbles: true }));
}

// A pad to draw on, for a square vector or for an image, which may also come as a file.
function drawingPad(feature, changed) {
	const { name, kind, max } = feature;
	const [rows, cols] = square(feature);
	const image = kind === 'image';
	const top = max > 0 && !image ? max : 1;
	const fine = Math.max(1, Math.round(280 / Math.max(rows, cols)));
	const canvas = h('canvas', { width: cols * fine, height: rows * fine, tabindex: '0', role: 'img', label: `Drawing pad for ${name}, ${rows} by ${cols}; or enter numbers below` });
	const pen = canvas.getContext('2d', { willReadFrequently: true });
	const small = h('canvas', { width: cols, height: rows });
	const soft = small.getContext('2d', { willReadFrequently: true });
	// What is sent: a list of numbers, or a picture in base64.
	const typed = h(image ? 'textarea.hide' : 'textarea', { name: `v:${name}`, onchange: () => { show(); changed(); } });
	const centre = h('input', { type: 'checkbox', checked: true });
	const file = h('input', { type: 'file', accept: 'image/png,image/jpeg', onchange: () => {
		const reader = new FileReader();
		reader.onload = () => { set(reader.result.split(',')[1]); changed(); };
		if (file.files[0]) reader.readAsDataURL(file.files[0]);
	} });

	const clear = () => pen.fillRect(0, 0, canvas.width, canvas.height);
	const value = () => (image ? typed.value || undefined : numbers(typed.value));
	function show() {
		pen.imageSmoothingEnabled = false;
		const list = value();
		if (image && list) {
			const loaded = imageOf(list, () => pen.drawImage(loaded, 0, 0, canvas.width, canvas.height));
		} else if (list?.length === rows * cols) {
			pen.drawImage(picture(list, [rows, cols], cols, null, top), 0, 0, canvas.width, canvas.height);
		} else clear();
	}
	const set = (v) => { type(typed, image ? v ?? '' : JSON.stringify((v ?? Array(rows * cols).fill(0)).map((x) => +Number(x).toPrecision(4)))); show(); };

	// Averages the fine drawing into the small one, its centre of mass moved to the middle if selected.
	function read() {
		const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
		let [mass, mx, my] = [0, 0, 0];
		for (let i = 0; i < data.length / 4; i += 1) {
			const v = data[i * 4];
			mass += v; mx += v * (i % canvas.width); my += v * Math.floor(i / canvas.width);
		}
		const shift = (sum, length) => (centre.checked && mass ? Math.round(sum / mass - length / 2) / fine : 0);
		soft.imageSmoothingQuality = 'high';
		soft.fillRect(0, 0, cols, rows);
		soft.drawImage(canvas, -shift(mx, canvas.width), -shift(my, canvas.height), cols, rows);
		const grey = soft.getImageData(0, 0, cols, rows).data.filter((_, i) => i % 4 === 0);
		type(typed, image ? small.toDataURL().split(',')[1] : JSON.stringify(Array.from(grey, (v) => +((v / 255) * top).toPrecision(4))));
		changed();
	}

	let last = null;
	function stroke(event) {
		const box = canvas.getBoundingClientRect();
		const point = [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
		last ??= point;
		pen.strokeStyle = '#fff';
		pen.lineCap = 'round';
		pen.lineWidth = Math.max(fine, canvas.width / 11);
		pen.beginPath();
		pen.moveTo(...last);
		pen.lineTo(point[0] + 0.1, point[1]);
		pen.stroke();
		last = point;
	}
	canvas.onpointerdown = (event) => { canvas.setPointerCapture(event.pointerId); stroke(event); };
	canvas.onpointermove = (event) => { if (last) stroke(event); };
	canvas.onpointerup = canvas.onpointercancel = () => { if (last) { last = null; read(); } };
	set();
	return {
		node: h('div.pad.wide', h('span.hint', `${name}: draw with mouse or finger`), canvas,
			h('div.row', h('button.slim', { onclick: () => { set(); changed(); } }, 'Clear'), check('centre it', centre)),
			image ? [field('or select an image file', file, 'PNG or JPEG'), typed] : h('details', h('summary', 'As numbers'), field(`${rows * cols} numbers from 0 to ${num(top)}`, typed))),
		value, set, restore: show,
	};
}

// A list as text, with its picture; a sequence may also be a line of text a step.
function series({ name, kind, members }) {
	const input = h('textarea', { name: `v:${name}`, placeholder: kind === 'vector' ? '0.1, 0.2, …' : 'numbers, a JSON list, or a line a step', onchange: () => show() });
	const view = h('div');
	const value = () => {
		const text = input.value.trim();
		if (!text) return undefined;
		if (kind === 'sequence' && text[0] === '[') return JSON.parse(text);
		return kind === 'vector' || /^[-\d\s.,;e+]+$/i.test(text) ? numbers(text) : text.split('\n').map((line) => line.trim()).filter(Boolean);
	};
	function show() {
		let list = [];
		try { list = value() ?? []; } catch { /* Half-typed JSON has no picture yet. */ }
		const channels = Array.isArray(list[0]) ? list[0].map((_, c) => list.map((step) => step[c])) : [list];
		put(view, typeof channels[0][2] !== 'number' ? null : lines(name, channels.slice(0, 4).map((channel, i) =>
			({ name: channels[1] ? `channel ${i + 1}` : name, points: channel.map((v, t) => [t, v]), color: i + 1 })), { height: 110, xLabel: 'step' }));
	}
	return {
		node: h('div.wide', field(name, input, members && `${members.length} numbers`), view), value, restore: show,
		set: (v) => { type(input, typeof v?.[0] === 'string' ? v.join('\n') : JSON.stringify(v ?? '')); show(); },
	};
}

function number({ name, min, max, mean }, changed) {
	const ranged = max > min;
	const middle = mean ?? (ranged ? (min + max) / 2 : null);
	const input = h('input', { name: `v:${name}`, type: 'number', step: 'any', value: middle && +middle.toPrecision(3) });
	const slide = ranged && h('input', { type: 'range', min, max, step: 'any', label: `${name}, slider`, value: middle, onchange: changed, oninput: () => type(input, +Number(slide.value).toPrecision(4)) });
	const follow = () => { if (slide) slide.value = input.value; };
	input.onchange = follow;
	return {
		node: h('div', field(name, input, ranged && `${num(min)} to ${num(max)}`), slide), restore: follow,
		value: () => (input.value === '' ? undefined : Number(input.value)), set: (v) => { type(input, v ?? ''); follow(); },
	};
}

// One field for one column: `{node, value(), set(v), restore?()}`.
function control(feature, changed) {
	const { name, kind, histogram } = feature;
	if (square(feature)) return drawingPad(feature, changed);
	if (kind === 'vector' || kind === 'sequence') return series(feature);
	if (kind === 'number') return number(feature, changed);
	const known = kind === 'category' ? (histogram ?? []).map(([value]) => String(value)) : [];
	const options = known.length ? h('datalist', { id: uid() }, known.slice(0, 200).map((value) => h('option', { value }))) : null;
	const input = kind === 'boolean' ? select([['', 'missing'], 'true', 'false'], '', { name: `v:${name}` })
		: h(kind === 'text' ? 'textarea' : 'input', { name: `v:${name}`, list: options?.id, autocomplete: 'off', placeholder: kind === 'timestamp' ? '2026-01-31T12:00:00Z' : null });
	return {
		node: h(kind === 'text' ? 'div.wide' : 'div', field(name, input, options && `such as ${known.slice(0, 3).join(', ')}`), options),
		value: () => (input.value === '' ? undefined : kind === 'boolean' ? input.value === 'true' : input.value), set: (v) => type(input, String(v ?? '')),
	};
}

const defined = (pairs) => Object.fromEntries(pairs.filter(([, value]) => value !== undefined));

// A whole row: `{node, row(), set(row), restore()}`.
export function rowForm(list, changed) {
	const controls = list.map((feature) => [feature, control(feature, changed)]);
	const fields = (some) => h('div.fields', some.map(([, c]) => c.node));
	return {
		node: h('div.stack.tight', fields(controls.slice(0, 40)), controls.length > 40 ? h('details', h('summary', `${controls.length - 40} more columns`), fields(controls.slice(40))) : null),
		row: () => defined(controls.map(([{ name }, c]) => [name, c.value()])),
		set: (row) => { for (const [feature, c] of controls) c.set(valueOf(row, feature)); },
		restore: () => { for (const [, c] of controls) c.restore?.(); },
	};
}

// A form from a family's JSON Schema: `{node, config()}`, which has what differs from the default.
export function settingsForm(family) {
	const made = Object.entries(family.schema.properties).map(([name, spec]) => {
		const { type: kind, default: start, minimum: min, maximum: max, enum: choices } = spec;
		const hint = `${spec.description}${min != null && max != null ? ` ${num(min)} to ${num(max)}.` : ''}`;
		const unset = start == null ? 'selected from the data' : Array.isArray(start) ? start.join(', ') : String(start);
		const id = { name: `c:${name}` };
		if (kind === 'boolean') {
			const input = h('input', { ...id, type: 'checkbox', checked: start === true });
			return [name, h('div.field', check(words(name), input), h('span.hint', hint)), () => (input.checked === (start === true) ? undefined : input.checked)];
		}
		const input = choices ? select([['', start == null ? unset : `${unset} (default)`], ...choices.filter((v) => v !== start)], '', id)
			: h('input', { ...id, placeholder: unset, ...(kind === 'array' ? {} : { type: 'number', step: kind === 'integer' ? 1 : 'any', min, max }) });
		return [name, field(words(name), input, hint),
			() => (input.value.trim() === '' ? undefined : choices ? input.value : kind === 'array' ? numbers(input.value) : Number(input.value))];
	});
	return { node: h('div.fields', made.map(([, node]) => node)), config: () => defined(made.map(([name, , value]) => [name, value()])) };
}

// A value in a table: pictures for vectors and images, text for all else.
export function shown(value, column, limit) {
	const shape = square(column);
	if (typeof value === 'string' && shape) return picture(value, shape, 34);
	if (value?.length > 15 && typeof value[0] === 'number') {
		return shape && shape[0] * shape[1] === value.length ? picture(value, shape, 34) : picture(value, [1, value.length], 110);
	}
	return cell(value, limit);
}
