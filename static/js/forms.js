// Forms drawn from what the server says of itself: a model's columns, a family's settings.

import { h, put, field, select, num, words, uid } from './dom.js';
import { lines, picture } from './charts.js';

/** A model's columns as a list, whether they come as a list or by name. */
export function features(model) {
  const given = model.schema?.features ?? model.schema?.columns ?? model.features ?? model.schema ?? [];
  const list = Array.isArray(given) ? given : Object.entries(given).map(([name, spec]) => (typeof spec === 'string' ? { name, kind: spec } : { name, ...spec }));
  return list.filter((one) => one.name !== model.target && one.kind !== 'ignore');
}

/** Rows and columns of a vector that can be drawn, or null. */
export function square(feature) {
  if (Array.isArray(feature.shape) && feature.shape.length === 2) return feature.shape;
  const n = feature.length ?? feature.size ?? feature.width;
  const side = Math.round(Math.sqrt(n ?? 0));
  return feature.kind === 'vector' && side >= 4 && side * side === n ? [side, side] : null;
}

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
    values = values.map((_, i) => {
      let sum = 0;
      for (let y = 0; y < fine; y += 1) {
        for (let x = 0; x < fine; x += 1) {
          const px = (i % cols) * fine + x + dx;
          const py = Math.floor(i / cols) * fine + y + dy;
          if (px >= 0 && py >= 0 && px < canvas.width && py < canvas.height) sum += data[(py * canvas.width + px) * 4];
        }
      }
      return (sum / (fine * fine * 255)) * top;
    });
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
    set: (list) => { values = list.map(Number); show(); typed.value = JSON.stringify(list); typed.dispatchEvent(new Event('input', { bubbles: true })); },
    restore: () => { const list = numbers(typed.value); if (list.length === values.length) { values = list; show(); } },
  };
}

/** Numbers from a JSON list or anything with separators. */
const numbers = (text) => (text.match(/-?\d+(\.\d+)?(e[+-]?\d+)?/gi) ?? []).map(Number);

function readSequence(text) {
  const trimmed = text.trim();
  if (trimmed.startsWith('[')) return JSON.parse(trimmed);
  if (/^[-\d\s.,;e+]+$/i.test(trimmed)) return numbers(trimmed);
  return trimmed.split('\n').map((line) => line.trim()).filter(Boolean);
}

/** One field for one column: `{node, value(), set(v)}`. */
function control(feature, changed) {
  const { name, kind } = feature;
  const id = `v:${name}`;
  const known = feature.categories ?? feature.values ?? feature.examples ?? [];
  if (kind === 'vector' && square(feature)) return drawingPad(feature, changed);
  if (kind === 'vector' || kind === 'sequence') {
    const input = h('textarea', { name: id, spellcheck: 'false', placeholder: kind === 'vector' ? '0.1, 0.2, …' : 'numbers, a JSON list, or a line a step' });
    const view = h('div');
    const show = () => {
      let list = [];
      try { list = readSequence(input.value || '[]'); } catch { /* Half-typed JSON has no picture yet. */ }
      const flat = Array.isArray(list[0]) ? list[0].map((_, c) => list.map((step) => step[c])) : [list];
      put(view, list.length > 2 && typeof flat[0][0] === 'number'
        ? lines(name, flat.slice(0, 4).map((c, i) => ({ name: flat.length > 1 ? `channel ${i + 1}` : name, points: c.map((v, t) => [t, v]), color: i + 1 })), { height: 110, xLabel: 'step' }) : null);
    };
    input.addEventListener('change', show);
    return {
      node: h('div.wide.stack.tight', field(name, input, feature.length ? `${feature.length} numbers` : null), view),
      value: () => (input.value.trim() ? (kind === 'vector' ? numbers(input.value) : readSequence(input.value)) : undefined),
      set: (v) => { input.value = Array.isArray(v) && typeof v[0] === 'string' ? v.join('\n') : JSON.stringify(v); show(); },
      restore: show,
    };
  }
  if (kind === 'image') {
    let data;
    const view = h('div');
    const input = h('input', { type: 'file', accept: 'image/png,image/jpeg', onchange: () => {
      const reader = new FileReader();
      reader.onload = () => { data = reader.result.split(',')[1]; show(); changed(); };
      if (input.files[0]) reader.readAsDataURL(input.files[0]);
    } });
    const show = () => put(view, data ? h('img', { src: `data:image/${data.startsWith('/9j') ? 'jpeg' : 'png'};base64,${data}`, alt: `The picture chosen for ${name}`, height: 120 }) : null);
    return { node: h('div.wide.stack.tight', field(name, input, 'PNG or JPEG'), view), value: () => data, set: (v) => { data = v; show(); } };
  }
  if (kind === 'boolean') {
    const input = select([['', 'not known'], 'true', 'false'], '', { name: id });
    return { node: field(name, input), value: () => (input.value ? input.value === 'true' : undefined), set: (v) => { input.value = String(v ?? ''); } };
  }
  if (kind === 'text' || kind === 'category' || kind === 'timestamp') {
    const list = known.length && kind === 'category' ? h('datalist', { id: uid() }, known.slice(0, 200).map((v) => h('option', { value: String(v) }))) : null;
    const input = h(kind === 'text' ? 'textarea' : 'input', { name: id, list: list?.id, spellcheck: 'false', autocomplete: 'off', placeholder: kind === 'timestamp' ? '2026-01-31T12:00:00Z' : null });
    return { node: h(kind === 'text' ? 'div.wide' : 'div', field(name, input, list ? `such as ${known.slice(0, 3).join(', ')}` : null), list), value: () => input.value || undefined, set: (v) => { input.value = v ?? ''; } };
  }
  const { min, max } = feature;
  const ranged = typeof min === 'number' && typeof max === 'number' && max > min;
  const input = h('input', { name: id, type: 'number', step: 'any', inputmode: 'decimal' });
  const middle = feature.mean ?? (ranged ? (min + max) / 2 : null);
  if (middle != null) input.value = +middle.toPrecision(3);
  const slide = ranged ? h('input', { type: 'range', min, max, step: 'any', 'aria-label': `${name}, slider`, value: middle }) : null;
  if (slide) {
    slide.value = middle;
    slide.addEventListener('input', () => { input.value = +Number(slide.value).toPrecision(4); });
    slide.addEventListener('change', () => { input.dispatchEvent(new Event('input', { bubbles: true })); changed(); });
    input.addEventListener('input', () => { slide.value = input.value; });
  }
  return {
    node: h('div.field', field(name, input, ranged ? `${num(min)} to ${num(max)}` : null), slide),
    value: () => (input.value === '' ? undefined : Number(input.value)),
    set: (v) => { input.value = v ?? ''; if (slide) slide.value = v; },
    restore: () => { if (slide) slide.value = input.value; },
  };
}

/** A whole row: `{node, row(), set(row), restore()}`. */
export function rowForm(list, changed) {
  const controls = list.map((feature) => [feature.name, control(feature, changed)]);
  const few = controls.slice(0, 40);
  const rest = controls.slice(40);
  return {
    node: h('div.stack.tight', h('div.fields', few.map(([, c]) => c.node)),
      rest.length ? h('details', h('summary', `${rest.length} more columns`), h('div.fields', rest.map(([, c]) => c.node))) : null),
    row: () => Object.fromEntries(controls.map(([name, c]) => [name, c.value()]).filter(([, v]) => v !== undefined)),
    set: (row) => { for (const [name, c] of controls) if (name in row) c.set(row[name]); },
    restore: () => { for (const [, c] of controls) c.restore?.(); },
  };
}

/** A form from a family's JSON Schema: `{node, config()}`; only what differs from the default is sent. */
export function settingsForm(family) {
  const schema = family.schema ?? family.config ?? family.settings ?? family;
  const made = Object.entries(schema.properties ?? {}).map(([name, spec]) => {
    const id = `c:${name}`;
    const start = spec.default;
    const type = Array.isArray(spec.type) ? spec.type.find((t) => t !== 'null') : spec.type ?? (spec.enum ? 'string' : 'number');
    const limits = spec.minimum != null && spec.maximum != null ? ` ${num(spec.minimum)} to ${num(spec.maximum)}.` : '';
    const hint = `${spec.description ?? ''}${limits}`;
    if (type === 'boolean') {
      const input = h('input', { type: 'checkbox', name: id, id: uid(), checked: start === true });
      return { name, node: h('div.field', h('span.check', input, h('label', { for: input.id }, words(name))), h('span.hint', hint)), value: () => (input.checked === (start === true) ? undefined : input.checked) };
    }
    const choices = spec.enum?.filter((v) => v != null);
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
