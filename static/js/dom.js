// Making elements and writing figures. Text only ever enters the page as text nodes and attributes,
// never as markup, so that a data set full of tags shows as what it is.

const SVG = 'http://www.w3.org/2000/svg';

function make(node, props, children) {
  if (props?.constructor === Object) {
    for (const [name, value] of Object.entries(props)) {
      if (value == null || value === false) continue;
      if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
      else if (['value', 'checked', 'disabled'].includes(name)) node[name] = value;
      else node.setAttribute(name, value === true ? '' : value);
    }
  } else children.unshift(props);
  return add(node, children);
}

/** Appends children: nodes, text, nested lists; nothing for null and false. */
function add(node, ...children) {
  for (const child of children.flat(Infinity)) {
    if (child == null || child === false) continue;
    node.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
  return node;
}

function named(create, name) {
  const [tag, ...classes] = name.split('.');
  const node = create(tag);
  if (classes.length) node.setAttribute('class', classes.join(' '));
  return node;
}

/** An HTML element: `h('p.mute.small', { title }, 'text')`. A property starting with `on` is a listener. */
export const h = (name, props, ...children) => make(named((tag) => document.createElement(tag), name), props, children);

/** An SVG element. */
export const s = (name, props, ...children) => make(named((tag) => document.createElementNS(SVG, tag), name), props, children);

/** Replaces what a node holds. */
export function put(node, ...children) {
  node.replaceChildren();
  return add(node, ...children);
}

/** A width in percent, set through the object model because the policy forbids style attributes. */
export function width(node, share) {
  node.style.width = `${Math.max(0, Math.min(1, share || 0)) * 100}%`;
  return node;
}

let counter = 0;
/** An id that is unique on this page. */
export const uid = () => `i${++counter}`;

/** A labelled field; `hint` is read out with it. */
export function field(label, input, hint, wide) {
  input.id ||= uid();
  let note = null;
  if (hint) {
    note = h('span', { class: 'hint', id: uid() }, hint);
    input.setAttribute('aria-describedby', note.id);
  }
  return h(wide ? 'div.field.wide' : 'div.field', h('label', { for: input.id }, label), input, note);
}

/** A select from `[value, text]` pairs or plain values. */
export function select(options, value, props) {
  const node = h('select', props, options.map((option) => {
    const [key, text] = Array.isArray(option) ? option : [option, option];
    return h('option', { value: key }, text);
  }));
  if (value != null) node.value = value;
  return node;
}

/** A table in its own scroller. A column starting with `#` holds figures; a row's first cell is its heading. */
export function table(caption, columns, rows) {
  const right = columns.map((name) => name[0] === '#');
  return h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': caption }, h('table',
    h('thead', h('tr', columns.map((name, i) => h(right[i] ? 'th.num' : 'th', { scope: 'col' }, name.replace('#', ''))))),
    h('tbody', rows.map((row) => h('tr', row.map((one, i) => (i ? h(right[i] ? 'td.num' : 'td', one ?? '–') : h('th', { scope: 'row' }, one))))))));
}

/** A figure without needless digits. */
export function num(value, digits = 3) {
  if (value == null || value === '') return '–';
  if (typeof value !== 'number') return String(value);
  if (!Number.isFinite(value)) return '–';
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e12) return (value || 0).toLocaleString('en');
  if (size >= 1e9 || (size < 1e-3 && size > 0)) return value.toExponential(1);
  if (size >= 1000) return Math.round(value).toLocaleString('en');
  return String(+value.toPrecision(digits));
}

/** A share as percent: 0.9731 → 97.3 %. */
export function percent(value, digits = 1) {
  if (value == null || !Number.isFinite(value)) return '–';
  const p = value * 100;
  return `${p > 0 && p < 0.05 ? '< 0.1' : p === 100 ? p : p.toFixed(digits)} %`;
}

/** Large counts in short: 12.3 k, 4.5 M. */
export function short(value) {
  if (value == null || !Number.isFinite(value)) return '–';
  for (const [size, unit] of [[1e12, 'T'], [1e9, 'G'], [1e6, 'M'], [1e3, 'k']]) {
    if (Math.abs(value) >= size) return `${+(value / size).toPrecision(3)}\u00a0${unit}`;
  }
  return num(value);
}

/** Bytes in short. */
export const bytes = (value) => (value == null ? '–' : value < 1000 ? `${value} B` : `${short(value)}B`);

/** Seconds in short. */
export function seconds(value) {
  if (value == null || !Number.isFinite(value)) return '–';
  if (value < 1e-3) return `${num(value * 1e6)} µs`;
  if (value < 1) return `${num(value * 1e3)} ms`;
  if (value < 60) return `${num(value, 2)} s`;
  if (value < 3600) return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
  if (value < 86400) return `${Math.floor(value / 3600)} h ${Math.floor((value % 3600) / 60)} min`;
  return `${Math.floor(value / 86400)} d ${Math.floor((value % 86400) / 3600)} h`;
}

/** How long ago, with the exact time on hover. */
export function ago(time) {
  if (!time) return h('span.mute', '–');
  const date = new Date(time);
  const past = (Date.now() - date.getTime()) / 1000;
  const text = past < 5 ? 'just now' : past < 60 ? `${Math.round(past)} s ago` : past < 3600 ? `${Math.round(past / 60)} min ago`
    : past < 86400 ? `${Math.round(past / 3600)} h ago` : date.toLocaleDateString('en', { year: 'numeric', month: 'short', day: 'numeric' });
  return h('time.mute', { datetime: time, title: date.toLocaleString() }, text);
}

/** A value of a data row as short text. */
export function cell(value, limit = 80) {
  if (value == null) return '–';
  if (typeof value === 'number') return num(value, 5);
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
}

/** `snake_case` as words. */
export const words = (name) => String(name).replaceAll('_', ' ');

/** A hash address from path parts. */
export const to = (...parts) => `#/${parts.map(encodeURIComponent).join('/')}`;

/** A link to a page. */
export const link = (text, ...parts) => h('a', { href: to(...parts) }, text);

/** The same as a button. */
export const go = (text, ...parts) => h('a.button', { href: to(...parts) }, text);
