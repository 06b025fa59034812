// Making elements and writing figures. Text only ever enters the page as text nodes and attributes,
// never as markup.

// Appends children: nodes, text, nested lists; nothing for null and false.
function add(node, ...children) {
	node.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
	return node;
}

const maker = (create) => (name, props, ...children) => {
	const [tag, ...classes] = name.split('.');
	const node = create(tag);
	if (classes.length) node.setAttribute('class', classes.join(' '));
	if (props?.constructor !== Object) return add(node, props, children);
	if (tag === 'button' && props.onclick) node.type = 'button';
	for (const [key, value] of Object.entries(props)) {
		if (value == null || value === false) continue;
		if (key === 'submit') node.onsubmit = (event) => { event.preventDefault(); value(); };
		else if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
		else if (key === 'value' || key === 'checked') node[key] = value;
		else if (key === 'label') node.ariaLabel = value;
		else node.setAttribute(key, value === true ? '' : value);
	}
	return add(node, children);
};

// An HTML element: `h('p.mute.small', { title }, 'text')`; `on…` is a listener, `submit` that of a form,
// `label` is for screen readers; a button with a listener sends no form.
export const h = maker((tag) => document.createElement(tag));

export const s = maker((tag) => document.createElementNS('http://www.w3.org/2000/svg', tag));

export function put(node, ...children) {
	node.replaceChildren();
	return add(node, children);
}

export const note = (...content) => h('p.small.mute', ...content);

// The policy forbids style attributes.
export function style(node, styles) {
	Object.assign(node.style, styles);
	return node;
}

export const part = (share) => `${Math.max(0, Math.min(1, share || 0)) * 100}%`;

let counter = 0;
export const uid = () => `i${++counter}`;

// A labelled field; `hint` is read out with it.
export function field(label, input, hint) {
	input.id ||= uid();
	const help = hint && h('span.hint', { id: uid() }, hint);
	if (help) input.setAttribute('aria-describedby', help.id);
	return h('div.field', h('label', { for: input.id }, label), input, help);
}

export const check = (label, input) => {
	input.id ||= uid();
	return h('span.check', input, h('label', { for: input.id }, label));
};

export function select(options, value, props) {
	const node = h('select', props, options.map((option) => {
		const [key, text] = Array.isArray(option) ? option : [option, option];
		return h('option', { value: key }, text);
	}));
	if (value != null) node.value = value;
	return node;
}

export const scroller = (label, node) => h('div.scroll', { tabindex: '0', role: 'group', label }, node);

/**
 * A table. A column starting with `#` holds figures; a row's first cell is its heading. On narrow screens the rows of a
 * `stacked` table become blocks with the columns' names, so that nothing is cut off. `heads` replaces the head cells.
 */
export function table(caption, columns, rows, stacked = columns.length < 10, heads = []) {
	const names = columns.map((name) => name.replace('#', ''));
	const cell = (tag, i) => (columns[i][0] === '#' ? `${tag}.num` : tag);
	const row = (...cells) => h('tr', { role: 'row' }, cells);
	return scroller(caption, h(stacked ? 'table.stacked' : 'table', { role: 'table' },
		h('thead', { role: 'rowgroup' }, row(names.map((name, i) => h(cell('th', i), { scope: 'col', role: 'columnheader', 'aria-sort': heads[i]?.order }, heads[i]?.node ?? name)))),
		h('tbody', { role: 'rowgroup' }, rows.map((one) => row(one.map((content, i) => (i ? h(cell('td', i), { role: 'cell', 'data-label': names[i] }, content ?? '–') : h('th', { scope: 'row', role: 'rowheader' }, content))))))));
}

export function num(value, digits = 3) {
	if (value == null || value === '' || Number.isNaN(value)) return '–';
	if (typeof value !== 'number') return String(value);
	const size = Math.abs(value);
	if (Number.isInteger(value) && size < 1e12) return (value || 0).toLocaleString('en');
	if (size >= 1e9 || size < 1e-3) return value.toExponential(1);
	return size >= 1000 ? Math.round(value).toLocaleString('en') : String(+value.toPrecision(digits || 3));
}

// 0.9731 → 97.3 %.
export function percent(value, digits = 1) {
	if (!Number.isFinite(value)) return '–';
	const p = value * 100;
	return `${p > 0 && p < 0.05 ? '< 0.1' : p === 100 ? p : p.toFixed(digits)} %`;
}

// 12.3 k, 4.5 M.
export function short(value) {
	const [size, unit] = [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']].find(([size]) => Math.abs(value) >= size) ?? [];
	return unit ? `${+(value / size).toPrecision(3)}\u00a0${unit}` : num(value);
}

export const bytes = (value) => (value == null ? '–' : value < 1000 ? `${value} B` : `${short(value)}B`);

export function seconds(value) {
	if (!Number.isFinite(value)) return '–';
	if (value < 1) return value < 1e-3 ? `${num(value * 1e6)} µs` : `${num(value * 1e3)} ms`;
	if (value < 60) return `${num(value, 2)} s`;
	const [big, small, size] = value < 3600 ? ['min', 's', 60] : value < 86400 ? ['h', 'min', 3600] : ['d', 'h', 86400];
	return `${Math.floor(value / size)} ${big} ${Math.floor((value % size) / (size === 86400 ? 3600 : size / 60))} ${small}`;
}

export function ago(time) {
	if (!time) return '–';
	const date = new Date(time);
	const past = (Date.now() - date) / 1000;
	const text = past < 5 ? 'just now' : past < 86400 ? `${seconds(Math.round(past)).replace(/( (min|h)) .*/, '$1')} ago`
		: date.toLocaleDateString('en', { year: 'numeric', month: 'short', day: 'numeric' });
	return h('time.mute', { datetime: time, title: date.toLocaleString() }, text);
}

export function cell(value, limit = 80) {
	if (value == null || typeof value === 'number') return num(value, 5);
	const text = typeof value === 'string' ? value : JSON.stringify(value);
	return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

export const words = (name) => String(name ?? '–').replaceAll('_', ' ');

export const to = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;

export const link = (text, ...parts) => h('a', { href: to(...parts) }, text);
export const go = (text, ...parts) => h('a.button', { href: to(...parts) }, text);
