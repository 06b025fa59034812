// Small pictures drawn as SVG or on a canvas, each with a sentence for those who do not see it.

import { h, s, put, num, percent, width } from './dom.js';

/** A box of fixed height whose content is drawn again when its width changes: no jumps. */
function canvasBox(height, draw, className = 'chart') {
  const box = h('div', { class: className });
  box.style.height = `${height}px`;
  let last = 0;
  new ResizeObserver(() => {
    if (box.clientWidth === last) return;
    last = box.clientWidth;
    put(box, draw(last, height));
  }).observe(box);
  return box;
}

function ticks(low, high, count) {
  const span = high - low || 1;
  const step = 10 ** Math.floor(Math.log10(span / count));
  const unit = [1, 2, 5, 10].map((n) => n * step).find((n) => span / n <= count) ?? step * 10;
  const list = [];
  for (let v = Math.ceil(low / unit) * unit; v <= high + unit * 1e-6; v += unit) list.push(+v.toPrecision(12));
  return list;
}

function bounds(values) {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return [low, high];
}

/** Keeps a curve drawable: at most `limit` points, evenly taken, the last always. */
function thin(points, limit) {
  if (points.length <= limit) return points;
  const step = (points.length - 1) / (limit - 1);
  return Array.from({ length: limit }, (_, i) => points[Math.round(i * step)]);
}

/**
 * Lines over one axis. `series`: `[{name, points: [[x, y]], color: 1..4}]`; `marks`: places of drift.
 * `format` writes y values.
 */
export function lines(title, series, { height = 200, format = num, xLabel = 'epoch', marks = [] } = {}) {
  const shown = series.filter((one) => one.points.length);
  const legend = h('ul.legend', shown.map((one) => {
    const last = one.points.at(-1);
    return h('li', h('i', { class: `k${one.color}` }), one.name, ' ', h('b', format(last[1])));
  }), marks.length ? h('li', h('i.k4'), 'drift') : null);
  const summary = `${title}. ${shown.map((one) => `${one.name}: from ${format(one.points[0][1])} to ${format(one.points.at(-1)[1])} over ${one.points.length} points`).join('; ')}`;
  const box = canvasBox(height, (w) => {
    if (!shown.length) return h('p.mute.small', 'No points yet.');
    const pad = { l: 46, r: 10, t: 6, b: 24 };
    const all = shown.flatMap((one) => one.points);
    let [x0, x1] = bounds(all.map((p) => p[0]));
    let [y0, y1] = bounds(all.map((p) => p[1]));
    if (x0 === x1) { x0 -= 1; x1 += 1; }
    if (y0 === y1) { const m = Math.abs(y0) / 20 || 0.5; y0 -= m; y1 += m; } else { const m = (y1 - y0) * 0.06; y0 -= m; y1 += m; }
    const X = (v) => pad.l + ((v - x0) / (x1 - x0)) * (w - pad.l - pad.r);
    const Y = (v) => height - pad.b - ((v - y0) / (y1 - y0)) * (height - pad.t - pad.b);
    return s('svg', { width: w, height, role: 'img', 'aria-label': summary },
      ticks(y0, y1, 4).map((v) => [
        s('line.grid', { x1: pad.l, x2: w - pad.r, y1: Y(v), y2: Y(v) }),
        s('text', { x: pad.l - 7, y: Y(v) + 4, 'text-anchor': 'end' }, format(v)),
      ]),
      ticks(x0, x1, Math.max(2, Math.floor(w / 90))).map((v) => s('text', { x: X(v), y: height - 7, 'text-anchor': 'middle' }, num(v))),
      s('text', { x: 0, y: height - 7 }, xLabel),
      marks.filter((x) => x >= x0 && x <= x1).map((x) => s('line.mark', { x1: X(x), x2: X(x), y1: pad.t, y2: height - pad.b })),
      shown.map((one) => {
        const points = thin(one.points, Math.max(60, Math.floor(w / 2)));
        return points.length === 1
          ? s('circle', { class: `f${one.color}`, cx: X(points[0][0]), cy: Y(points[0][1]), r: 3 })
          : s('path', { class: `line s${one.color}`, d: points.map((p, i) => `${i ? 'L' : 'M'}${X(p[0]).toFixed(1)} ${Y(p[1]).toFixed(1)}`).join('') });
      }));
  });
  return h('figure', legend, box);
}

/** A line without axes, for a list. */
export function spark(points, label) {
  return canvasBox(40, (w, height) => {
    if (points.length < 2) return null;
    const [x0, x1] = bounds(points.map((p) => p[0]));
    const [y0, y1] = bounds(points.map((p) => p[1]));
    return s('svg', { width: w, height, role: 'img', 'aria-label': label },
      s('path.line.s1', { d: thin(points, 120).map((p, i) =>
        `${i ? 'L' : 'M'}${(((p[0] - x0) / (x1 - x0 || 1)) * (w - 4) + 2).toFixed(1)} ${(height - 4 - ((p[1] - y0) / (y1 - y0 || 1)) * (height - 8)).toFixed(1)}`).join('') }));
  }, 'spark');
}

/** A histogram of counts, small enough for a table. */
export function histogram(counts, label) {
  const top = Math.max(...counts, 1);
  const w = 110 / counts.length;
  return s('svg.hist', { viewBox: '0 0 110 26', role: 'img', 'aria-label': label },
    counts.map((n, i) => {
      const tall = n ? Math.max(1, (n / top) * 25) : 0.5;
      return s('rect', { class: n ? 'f1' : 'f0', x: i * w, y: 26 - tall, width: Math.max(0.5, w - 1), height: tall });
    }));
}

/** Named bars from zero; negative ones are drawn to the left of the middle. */
export function bars(items, format = num, limit = 12) {
  const shown = items.slice(0, limit);
  const signed = shown.some((item) => item.value < 0);
  const top = Math.max(...shown.map((item) => Math.abs(item.value)), 1e-12);
  return h('ul.bars', shown.map((item, i) => {
    const bar = h('i', { class: item.value < 0 ? 'neg' : null });
    const share = Math.abs(item.value) / (item.of ?? top);
    if (signed) {
      width(bar, share / 2);
      bar.style.left = item.value < 0 ? `${50 - share * 50}%` : '50%';
    } else width(bar, share);
    return h('li', { class: i === 0 && !signed ? 'first' : null },
      h('span.name', { title: item.name }, item.name), h('span.track', { 'aria-hidden': 'true' }, bar), h('span.val', format(item.value)));
  }));
}

/** Truth by row, answer by column. Past 24 classes only the worst mix-ups are told. */
export function confusion(labels, matrix) {
  const sums = matrix.map((row) => row.reduce((a, b) => a + b, 0));
  const wrong = [];
  matrix.forEach((row, i) => row.forEach((n, j) => { if (i !== j && n > 0) wrong.push([n, i, j]); }));
  wrong.sort((a, b) => b[0] - a[0]);
  const worst = wrong.length
    ? h('p.small.mute', 'Most often mixed up: ', wrong.slice(0, 3).map(([n, i, j]) => `${labels[i]} taken for ${labels[j]} (${n})`).join(', '), '.')
    : h('p.small.mute', 'Nothing was mixed up.');
  if (labels.length > 24) {
    return h('div.stack.tight', worst, bars(labels.map((name, i) => ({ name, value: sums[i] ? matrix[i][i] / sums[i] : 0, of: 1 }))
      .sort((a, b) => a.value - b.value), percent, 16), h('p.small.mute', 'Share of each class that was recognised, the weakest first.'));
  }
  return h('div.stack.tight',
    h('div.scroll', { tabindex: '0', role: 'region', 'aria-label': 'Confusion matrix' },
      h('table.heat',
        h('caption.sr', 'Rows are the truth, columns the answers'),
        h('thead', h('tr', h('th', { scope: 'col' }, h('span.sr', 'truth')), labels.map((name) => h('th', { scope: 'col', title: name }, name)))),
        h('tbody', matrix.map((row, i) => h('tr', h('th', { scope: 'row', title: labels[i] }, labels[i]), row.map((n, j) => {
          const shade = h('i', { 'aria-hidden': 'true' });
          shade.style.opacity = sums[i] ? (n / sums[i]) * 0.45 : 0;
          return h('td', { class: i === j ? null : 'off', title: `${labels[i]} answered as ${labels[j]}: ${n}` }, shade, n || h('span.mute', '·'));
        })))))), worst);
}

/** Claimed probability against how often it was right. `points`: `[{confidence, accuracy, rows}]`. */
export function calibration(points) {
  const size = 220;
  const box = canvasBox(size, (full) => {
    const w = Math.min(full, 320);
    const pad = { l: 40, r: 8, t: 8, b: 28 };
    const X = (v) => pad.l + v * (w - pad.l - pad.r);
    const Y = (v) => size - pad.b - v * (size - pad.t - pad.b);
    const most = Math.max(...points.map((p) => p.rows ?? 1), 1);
    return s('svg', { width: w, height: size, role: 'img', 'aria-label': `Calibration. ${points.map((p) => `said ${percent(p.confidence, 0)}, was right ${percent(p.accuracy, 0)}`).join('; ')}` },
      [0, 0.5, 1].map((v) => [
        s('line.grid', { x1: X(0), x2: X(1), y1: Y(v), y2: Y(v) }),
        s('text', { x: pad.l - 6, y: Y(v) + 4, 'text-anchor': 'end' }, percent(v, 0)),
        s('text', { x: X(v), y: size - 10, 'text-anchor': v === 1 ? 'end' : 'middle' }, percent(v, 0)),
      ]),
      s('line.dash', { x1: X(0), y1: Y(0), x2: X(1), y2: Y(1) }),
      s('path.line.s1', { d: points.map((p, i) => `${i ? 'L' : 'M'}${X(p.confidence)} ${Y(p.accuracy)}`).join('') }),
      points.map((p) => s('circle.f1', { cx: X(p.confidence), cy: Y(p.accuracy), r: 2 + 4 * Math.sqrt((p.rows ?? 1) / most) },
        s('title', `${p.rows} answers: said ${percent(p.confidence)}, right ${percent(p.accuracy)}`))));
  });
  return h('figure', box, h('figcaption.small.mute', 'How sure it was (across) against how often it was right (up). On the dashed line the two agree.'));
}

/** Which units fire: a lit dot per active unit. `rows`: `[{label, units: [[unit, strength]]}]`. */
export function raster(rows, label) {
  const most = Math.max(1, ...rows.flatMap((row) => row.units.map((unit) => unit[0]))) + 1;
  const cols = Math.min(most, 512);
  const scale = rows.length > 1 ? 6 : 18;
  const canvas = h('canvas.raster', { width: cols, height: rows.length * scale, role: 'img', 'aria-label': label });
  canvas.style.height = `${rows.length * (rows.length > 1 ? 10 : 26)}px`;
  const dots = canvas.getContext('2d');
  rows.forEach((row, y) => {
    const top = Math.max(...row.units.map((unit) => Math.abs(unit[1])), 1e-9);
    for (const [unit, strength] of row.units) {
      dots.fillStyle = `rgba(233, 150, 50, ${0.35 + 0.65 * (Math.abs(strength) / top)})`;
      dots.fillRect(Math.floor((unit / most) * cols), y * scale + 1, 1.5, scale - 2);
    }
  });
  return canvas;
}

/** A grid of values as a small picture; `tint` lays a second grid over it. */
export function picture(values, rows, cols, size, tint) {
  const canvas = h('canvas.thumb', { width: cols, height: rows, role: 'img', 'aria-label': `picture of ${rows} by ${cols}` });
  canvas.style.width = `${size}px`;
  canvas.style.height = `${Math.round((size * rows) / cols)}px`;
  const [low, high] = bounds(values);
  const strongest = tint ? Math.max(...tint.map(Math.abs), 1e-9) : 1;
  const image = new ImageData(cols, rows);
  for (let i = 0; i < rows * cols; i += 1) {
    const v = Math.round(((values[i] - Math.min(0, low)) / (high - Math.min(0, low) || 1)) * 255);
    const t = tint ? tint[i] / strongest : 0;
    const a = Math.min(1, Math.abs(t)) * 0.8;
    const [r, g, b] = t >= 0 ? [240, 160, 60] : [90, 130, 240];
    image.data.set([v * (1 - a) + r * a, v * (1 - a) + g * a, v * (1 - a) + b * a, 255], i * 4);
  }
  canvas.getContext('2d').putImageData(image, 0, 0);
  return canvas;
}
