// Forms drawn from what the server says of itself: a model's columns, a family's settings.

import { h, put, field, select, num, words, uid } from './dom.js';
import { lines, picture } from './charts.js';

/** A model's columns, with what its dataset knows of their values. */
export function features(model, dataset) {
  return (model.schema?.features ?? []).map((one) => ({ ...dataset?.columns.find((c) => c.name === one.name), ...one }));
}

/** A column's value in a row, where a group of columns may stand for a list. */
export const valueOf = (row, column) => row[column.name] ?? (column.members && column.members[0] in row ? column.members.map((name) => row[name]) : undefined);

/** Rows and columns of a vector that can be drawn, or null. */
export const square = ({ kind, shape }) => (kind === 'vector' && shape?.length === 2 ? shape : null);

/** A pad to draw on. `value()` is the list of numbers, `set` shows such a list. */
function drawingPad(feature, changed) {
  const [rows, cols] = square(feature);
  const top = feature.max > 0 ? feature.max : 1;
  const fine = 10;
  const canvas = h('canvas', { width: cols * fine, height: rows * fine, tabindex: '0', role: 'img', 'aria-label': `Drawing pad for ${feature.name}, ${rows} by ${cols}. The numbers can also be typed below.` });
  const pen = canvas.getContext('2d', { willReadFrequently: true });
  let values = new Array(rows * cols).fill(0);
  const typed = h('textarea', { spellcheck: 'false', name: `v:${feature.name}` });
  const centre = h('input', { type: 'checkbox', checked: true, id: uid() });

  const show = () => {
    const image = new ImageData(cols, rows);
    values.forEach((v, i) => { const g = Math.max(0, Math.min(255, (v / top) * 255)); image.data.set([g, g, g, 255], i * 4); });
    const small = new OffscreenCanvas(cols, rows);
    small.getContext('2d').putImageData(image, 0, 0);
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, 0, 0, canvas.width, canvas.height);
  };
  const told = () => {
    typed.value = JSON.stringify(values.map((v) => +v.toPrecision(4)));
    typed.dispatchEvent(new Event('input', { bubbles: true }));
    changed();
  };
  const clear = () => {
    pen.fillStyle = '#000';
    pen.fillRect(0, 0, canvas.width, canvas.height);
    values = values.map(() => 0);
  };

  /** Averages the fine drawing into the vector, its centre of mass moved to the middle when asked. */
  function read() {
    const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
    let [mass, mx, my] = [0, 0, 0];
    for (let y = 0; y < canvas.height; y += 1) {
      for (let x = 0; x < canvas.width; x += 1) {
        const v = data[(y * canvas.width + x) * 4];
        mass += v; mx += v * x; my += v * y;
      }
    }
    const dx = centre.checked && mass ? Math.round(mx / mass - canvas.width / 2) : 0;
    const dy = centre.checked && mass ? Math.round(my / mass - canvas.height / 2) : 0;
    const soft = new OffscreenCanvas(cols, rows).getContext('2d');
    soft.imageSmoothingQuality = 'high';
    soft.drawImage(canvas, -dx / fine, -dy / fine, cols, rows);
    const small = soft.getImageData(0, 0, cols, rows).data;
    values = values.map((_, i) => (small[i * 4] / 255) * top);
  }

  let last = null;
  const at = (event) => {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * canvas.width, ((event.clientY - box.top) / box.height) * canvas.height];
  };
  canvas.addEventListener('pointerdown', (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = at(event);
    stroke(last);
  });
  canvas.addEventListener('pointermove', (event) => { if (last) stroke(at(event)); });
  const end = () => {
    if (!last) return;
    last = null;
    read();
    told();
  };
  canvas.addEventListener('pointerup', end);
  canvas.addEventListener('pointercancel', end);
  function stroke(point) {
    pen.strokeStyle = '#fff';
    pen.lineCap = 'round';
    pen.lineWidth = Math.max(fine, (Math.min(rows, cols) * fine) / 11);
    pen.beginPath();
    pen.moveTo(...last);
    pen.lineTo(point[0] + 0.1, point[1]);
    pen.stroke();
    last = point;
  }
  typed.addEventListener('change', () => {
    const list = numbers(typed.value);
    if (list.length === values.length) { values = list; show(); changed(); }
  });
  clear();
  return {
    node: h('div.pad.wide', h('span.hint', `${feature.name}: draw with mouse or finger`), canvas,
      h('div.row', h('button', { type: 'button', class: 'slim', onclick: () => { clear(); told(); } }, 'Clear'),
        h('span.check.small', centre, h('label', { for: centre.id }, 'centre it'))),
      h('details', h('summary', 'As numbers'), field(`${rows * cols} numbers from 0 to ${num(top)}`, typed))),
    value: () => values,
    set: (list) => { values = (list ?? values).map(Number); show(); typed.value = JSON.stringify(values); typed.dispatchEvent(new Event('input', { bubbles: true })); },
    restore: () => { const list = numbers(typed.value); if (list.length === values.length) { values = list; show(); } },
  };
}

/** Numbers from a JSON list or anything with separators. */
const numbers = (text) => (text.match(/-?\d+(\.\d+)?(e[+-]?\d+)?/gi) ?? []).map(Number);

function readSequence(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith('[')) return JSON.parse(trimmed);
  return /^[-\d\s.,;e+]+$/i.test(trimmed) ? numbers(trimmed) : trimmed.split('\n').map((line) => line.trim()).filter(Boolean);
}

/** A list as numbers in a text area, with its picture. */
function series({ name, kind, members }) {
  const input = h('textarea', { name: `v:${name}`, spellcheck: 'false', placeholder: kind === 'vector' ? '0.1, 0.2, …' : 'numbers, a JSON list, or a line a step', onchange: () => show() });
  const view = h('div');
  const value = () => (input.value.trim() ? (kind === 'vector' ? numbers(input.value) : readSequence(input.value)) : undefined);
  function show() {
    let list = [];
    try { list = value() ?? []; } catch { /* Half-typed JSON has no picture yet. */ }
    const channels = Array.isArray(list[0]) ? list[0].map((_, c) => list.map((step) => step[c])) : [list];
    put(view, list.length > 2 && typeof channels[0][0] === 'number'
      ? lines(name, channels.slice(0, 4).map((c, i) => ({ name: channels.length > 1 ? `channel ${i + 1}` : name, points: c.map((v, t) => [t, v]), color: i + 1 })), { height: 110, xLabel: 'step' }) : null);
  }
  return {
    node: h('div.wide.stack.tight', field(name, input, members ? `${members.length} numbers` : null), view), value, restore: show,
    set: (v) => { input.value = typeof v?.[0] === 'string' ? v.join('\n') : JSON.stringify(v ?? ''); show(); },
  };
}

/** A picture's file, sent as base64. */
function imageFile({ name }, changed) {
  let data;
  const view = h('div');
  const show = () => put(view, data ? h('img', { src: `data:image/${data.startsWith('/9j') ? 'jpeg' : 'png'};base64,${data}`, alt: `The picture chosen for ${name}`, height: 120 }) : null);
  const set = (v) => { data = v; show(); };
  const input = h('input', { type: 'file', accept: 'image/png,image/jpeg', onchange: () => {
    const reader = new FileReader();
    reader.onload = () => { set(reader.result.split(',')[1]); changed(); };
    if (input.files[0]) reader.readAsDataURL(input.files[0]);
  } });
  return { node: h('div.wide.stack.tight', field(name, input, 'PNG or JPEG'), view), value: () => data, set };
}

/** A number with a slider where its range is known. */
function number({ name, min, max, mean }, changed) {
  const ranged = max > min;
  const middle = mean ?? (ranged ? (min + max) / 2 : null);
  const input = h('input', { name: `v:${name}`, type: 'number', step: 'any', inputmode: 'decimal', value: middle == null ? null : +middle.toPrecision(3) });
  const slide = ranged ? h('input', { type: 'range', min, max, step: 'any', 'aria-label': `${name}, slider`, value: middle }) : null;
  const follow = () => { if (slide) slide.value = input.value; };
  slide?.addEventListener('input', () => { input.value = +Number(slide.value).toPrecision(4); });
  slide?.addEventListener('change', () => { input.dispatchEvent(new Event('input', { bubbles: true })); changed(); });
  input.addEventListener('input', follow);
  return {
    node: h('div.field', field(name, input, ranged ? `${num(min)} to ${num(max)}` : null), slide), restore: follow,
    value: () => (input.value === '' ? undefined : Number(input.value)), set: (v) => { input.value = v ?? ''; follow(); },
  };
}

/** One field for one column: `{node, value(), set(v), restore?()}`. */
function control(feature, changed) {
  const { name, kind } = feature;
  if (kind === 'vector' && square(feature)) return drawingPad(feature, changed);
  if (kind === 'vector' || kind === 'sequence') return series(feature);
  if (kind === 'image') return imageFile(feature, changed);
  if (kind === 'number') return number(feature, changed);
  const known = kind === 'category' ? (feature.histogram ?? []).map(([value]) => value) : [];
  const list = known.length ? h('datalist', { id: uid() }, known.slice(0, 200).map((v) => h('option', { value: String(v) }))) : null;
  const input = kind === 'boolean' ? select([['', 'not known'], 'true', 'false'], '', { name: `v:${name}` })
    : h(kind === 'text' ? 'textarea' : 'input', { name: `v:${name}`, list: list?.id, spellcheck: 'false', autocomplete: 'off', placeholder: kind === 'timestamp' ? '2026-01-31T12:00:00Z' : null });
  return {
    node: h(kind === 'text' ? 'div.wide' : 'div', field(name, input, list ? `such as ${known.slice(0, 3).join(', ')}` : null), list),
    value: () => (input.value === '' ? undefined : kind === 'boolean' ? input.value === 'true' : input.value), set: (v) => { input.value = String(v ?? ''); },
  };
}

/** A whole row: `{node, row(), set(row), restore()}`. */
export function rowForm(list, changed) {
  const controls = list.map((feature) => [feature, control(feature, changed)]);
  const few = controls.slice(0, 40);
  const rest = controls.slice(40);
  return {
    node: h('div.stack.tight', h('div.fields', few.map(([, c]) => c.node)),
      rest.length ? h('details', h('summary', `${rest.length} more columns`), h('div.fields', rest.map(([, c]) => c.node))) : null),
    row: () => Object.fromEntries(controls.map(([{ name }, c]) => [name, c.value()]).filter(([, v]) => v !== undefined)),
    set: (row) => { for (const [feature, c] of controls) c.set(valueOf(row, feature)); },
    restore: () => { for (const [, c] of controls) c.restore?.(); },
  };
}

/** A form from a family's JSON Schema: `{node, config()}`; only what differs from the default is sent. */
export function settingsForm(family) {
  const made = Object.entries(family.schema.properties).map(([name, spec]) => {
    const id = `c:${name}`;
    const start = spec.default;
    const { type } = spec;
    const limits = spec.minimum != null && spec.maximum != null ? ` ${num(spec.minimum)} to ${num(spec.maximum)}.` : '';
    const hint = `${spec.description}${limits}`;
    if (type === 'boolean') {
      const input = h('input', { type: 'checkbox', name: id, id: uid(), checked: start === true });
      return { name, node: h('div.field', h('span.check', input, h('label', { for: input.id }, words(name))), h('span.hint', hint)), value: () => (input.checked === (start === true) ? undefined : input.checked) };
    }
    const choices = spec.enum;
    const input = choices ? select([['', start == null ? 'chosen from the data' : `${start} (default)`], ...choices.filter((v) => v !== start)], '', { name: id })
      : h('input', { name: id, placeholder: start == null ? 'chosen from the data' : Array.isArray(start) ? start.join(', ') : String(start), ...(type === 'array' ? { inputmode: 'numeric' } : { type: 'number', step: type === 'integer' ? 1 : 'any', min: spec.minimum, max: spec.maximum }) });
    return { name, node: field(words(name), input, hint), value: () => {
      if (input.value.trim() === '') return undefined;
      return choices ? input.value : type === 'array' ? numbers(input.value) : Number(input.value);
    } };
  });
  return { node: h('div.fields', made.map((one) => one.node)), config: () => Object.fromEntries(made.map((one) => [one.name, one.value()]).filter(([, v]) => v !== undefined)) };
}

/** A row's value in a table: small pictures for square vectors, text for all else. */
export function shown(value, column) {
  const shape = column && square(column);
  if (Array.isArray(value) && value.length > 15 && typeof value[0] === 'number') {
    if (shape && shape[0] * shape[1] === value.length) return picture(value, shape[0], shape[1], 34);
    return picture(value, 1, value.length, 110);
  }
  return null;
}
