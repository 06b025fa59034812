// The list of models, and one model's page: try it, quality, versions, activity, stream, memory.

import { h, put, num, percent, bytes, short, words, to, ago, select, field, table, cell } from './dom.js';
import { get, post, call, download } from './api.js';
import { heading, card, tiles, empty, paged, into, act, toast, sure, chip, quality, keep, curvesOf, lossSeries, meter } from './parts.js';
import { lines, bars, confusion, calibration, raster } from './charts.js';
import { features, rowForm } from './forms.js';
import { answer } from './answer.js';

/** `#/models`: a page at a time. */
export function models(signal) {
  const list = paged((cursor) => get(`/models?limit=50${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`, signal), (items) => (items.length
    ? table('Models', [['Model'], ['Family'], ['Task'], ['Quality', 'num'], ['Size', 'num'], ['Updated']], items.map((model) => h('tr',
      h('th', { scope: 'row' }, h('a', { href: to('models', model.name) }, model.name), model.version ? h('span.mute', ` v${model.version}`) : null),
      h('td', words(model.family ?? '–')), h('td', model.task ?? '–'), h('td.num', quality(model.metrics)),
      h('td.num', bytes(model.bytes)), h('td', ago(model.updated_at ?? model.created_at)))))
    : empty('No model yet', 'A model is made by its first training. Pick a dataset and press “Train”.', h('a.button.main', { href: '#/datasets' }, 'Go to datasets'))), signal);
  return [heading('Models'), card(null, list.node)];
}

const TABS = [['try', 'Try it'], ['quality', 'Quality'], ['versions', 'Versions'], ['activity', 'Activity'], ['stream', 'Stream'], ['memory', 'Memory']];

/** `#/models/{name}/{tab}`. */
export async function model(signal, name, tab = 'try') {
  const path = `/models/${encodeURIComponent(name)}`;
  const it = await get(path, signal);
  const body = h('div');
  const draw = { try: tryIt, quality: qualityTab, versions: versionsTab, activity: activityTab, stream: streamTab, memory: memoryTab }[tab] ?? tryIt;
  into(body, () => draw({ it, path, name, signal }));
  return [
    heading(name, [h('a', { href: '#/models' }, 'Models'), ` / ${words(it.family ?? '')}`],
      it.version ? h('span.chip.good', `version ${it.version} answers`) : chip('no version yet'),
      h('span.mute.small', it.target ? `predicts ${it.target}` : '', it.metrics ? ` · ${quality(it.metrics)}` : '')),
    h('nav.tabs', { 'aria-label': 'Parts of the model' }, TABS.map(([key, text]) => h('a', { href: to('models', name, key), 'aria-current': key === tab ? 'page' : null }, text))),
    body,
  ];
}

const reload = () => dispatchEvent(new HashChangeEvent('hashchange'));

/** The dataset a model was trained on, as far as the server says. */
const source = (it) => it.dataset ?? it.versions?.findLast?.((v) => v.dataset)?.dataset;

async function someRow(it, signal) {
  const set = await get(`/datasets/${encodeURIComponent(source(it))}`, signal);
  const offset = Math.floor(Math.random() * set.rows);
  const page = await get(`/datasets/${encodeURIComponent(set.name)}/rows?offset=${offset}&limit=1`, signal);
  return (page.items ?? page.rows ?? page)[0];
}

function tryIt({ it, path, name, signal }) {
  const list = features(it);
  if (!it.version && !it.versions?.length) return empty('Nothing answers yet', 'The first version appears when its training ends.', h('a.button', { href: '#/jobs' }, 'See the jobs'));
  const out = h('div.busy', { 'aria-live': 'polite' }, empty('The answer shows here', 'Fill in a row, or take one from the data.'));
  let truth = h('p');
  const predict = () => into(out, async () => {
    const made = await post(`${path}/predict`, { rows: [form.row()], top_k: 10, coverage: Number(cover.value), explain: true }, signal);
    return [truth, answer(made, it, list, form.row(), path)];
  });
  const form = rowForm(list, () => { if (list.length === 1) predict(); });
  const cover = select([['0.8', '80 %'], ['0.9', '90 %'], ['0.95', '95 %'], ['0.99', '99 %']], '0.9', { name: 'coverage' });
  const node = h('form.stack', { onsubmit: (event) => { event.preventDefault(); predict(); } }, form.node,
    h('div.row', h('button.main', 'Predict'),
      source(it) ? act('Take a row from the data', async () => {
        const row = await someRow(it, signal);
        form.set(row);
        truth = h('p.small.mute', 'The data say: ', h('strong', cell(row[it.target])));
        await predict();
        truth = h('p');
      }) : null,
      h('span.row.small', h('label', { for: 'cover' }, 'sets that hold the truth'), cover)));
  cover.id = 'cover';
  keep(node, name);
  form.restore();
  return h('div.grid2', card('A row', node), card('Answer', out));
}

function qualityTab({ it, path, signal }) {
  const versions = it.versions ?? [];
  if (!versions.length) return empty('Nothing to measure yet', 'Figures appear when the first training ends.');
  const body = h('div.stack');
  const pick = select(versions.map((v) => [v.version, `version ${v.version}${v.version === it.version ? ' (answers)' : ''}`]).reverse(), it.version ?? versions.at(-1).version, { 'aria-label': 'Version', onchange: () => draw() });
  const draw = () => into(body, async () => {
    const version = versions.find((v) => v.version === Number(pick.value));
    const m = version.metrics ?? {};
    const made = version.job_id ? await curvesOf(version.job_id, signal).catch(() => new Map()) : new Map();
    const figures = Object.entries(m).filter(([, v]) => typeof v === 'number');
    const matrix = m.confusion?.matrix ?? m.confusion_matrix?.matrix ?? m.confusion_matrix ?? m.confusion;
    const labels = m.confusion?.labels ?? m.confusion_matrix?.labels ?? m.labels ?? m.classes ?? it.classes ?? [];
    const points = m.calibration?.bins ?? m.calibration ?? m.reliability;
    return [
      tiles(figures.slice(0, 10).map(([name, v]) => [words(name), /accuracy|coverage|recall|precision|f1|share/.test(name) ? percent(v) : num(v)])),
      h('div.grid2',
        made.size ? card('Learning', lines('Loss', lossSeries(made))) : null,
        Array.isArray(points) && points.length ? card('Calibration', calibration(points.map((p) => (Array.isArray(p) ? { confidence: p[0], accuracy: p[1], count: p[2] } : p)).filter((p) => p.count !== 0))) : null),
      Array.isArray(matrix) && matrix.length ? card('Confusion on held-out rows', confusion(labels.map(String), matrix)) : null,
      m.per_class ? card('Recall by class', bars(Object.entries(m.per_class).map(([name, v]) => ({ name, value: v.recall ?? v, of: 1 })).sort((a, b) => a.value - b.value), percent, 24)) : null,
    ];
  });
  draw();
  const set = h('input', { 'aria-label': 'Dataset', placeholder: 'dataset', value: source(it) ?? '', spellcheck: 'false' });
  const result = h('div');
  return h('div.stack', h('div.row', pick), body,
    card('Measure on another dataset', h('form.row', { onsubmit: (event) => {
      event.preventDefault();
      into(result, async () => {
        const made = await post(`${path}/evaluate`, { dataset: set.value.trim() }, signal);
        return tiles(Object.entries(made.metrics ?? made).filter(([, v]) => typeof v === 'number').map(([name, v]) => [words(name), num(v)]));
      });
    } }, set, h('button', 'Evaluate')), result));
}

async function versionsTab({ it, path, name, signal }) {
  const { items } = await get(`${path}/versions`, signal);
  if (!items.length) return empty('No version yet', 'Each finished training makes one.', h('a.button', { href: '#/datasets' }, 'Train from a dataset'));
  const done = (text) => { toast(text); reload(); };
  const options = [['', 'none'], ...items.map((v) => [v.version, `version ${v.version}`])];
  const now = it.traffic ?? {};
  const stable = select(options.slice(1), now.stable ?? it.version);
  const canary = select(options, now.canary?.version ?? '');
  const weight = h('input', { type: 'range', min: 0, max: 100, step: 1, value: Math.round((now.canary?.weight ?? 0.1) * 100) });
  const share = h('span.hint');
  const told = () => put(share, canary.value ? `${weight.value} % of the requests go to version ${canary.value}` : 'no canary');
  weight.addEventListener('input', told);
  canary.addEventListener('change', told);
  told();
  const shadow = select(options, now.shadow ?? '');
  return h('div.stack',
    card(null, h('div.row.between', h('h2', 'Versions'),
      act('Roll back', async () => { const made = await post(`${path}/rollback`, {}); done(`Version ${made?.version ?? 'before'} answers now.`); })),
    table('Versions', [['Version'], ['State'], ['Family'], ['Quality', 'num'], ['Size', 'num'], ['Made'], ['Actions']], items.toSorted((a, b) => b.version - a.version).map((v) => h('tr',
      h('th', { scope: 'row' }, v.job_id ? h('a', { href: to('jobs', v.job_id) }, `v${v.version}`) : `v${v.version}`), h('td', chip(v.state)), h('td', words(v.family ?? '–')),
      h('td.num', quality(v.metrics)), h('td.num', bytes(v.bytes)), h('td', ago(v.created_at)),
      h('td', h('span.row',
        v.state === 'served' ? null : act('Promote', async () => { await post(`${path}/versions/${v.version}/promote`, {}); done(`Version ${v.version} answers now.`); }, { class: 'slim', 'aria-label': `Promote version ${v.version}` }),
        act('Export', () => download(`${path}/versions/${v.version}/export?format=bundle`, `${name}-v${v.version}.bundle`), { class: 'slim', 'aria-label': `Export version ${v.version}` }))))))),
    card('Traffic', h('form.stack', { onsubmit: (event) => event.preventDefault() }, h('div.fields',
      field('Stable', stable), field('Canary', canary), h('div', field('Canary share', weight), share), field('Shadow', shadow, 'answers are compared, not sent')),
    h('div.row', act('Set traffic', async () => {
      await call('PUT', `${path}/traffic`, { stable: Number(stable.value), ...(canary.value ? { canary: { version: Number(canary.value), weight: weight.value / 100 } } : {}), ...(shadow.value ? { shadow: Number(shadow.value) } : {}) });
      done('The traffic is split as you said.');
    }, { class: 'main' })))),
    h('div', act('Delete this model', async () => {
      if (!(await sure(`Delete ${name}?`, 'All its versions and everything it remembers are gone then.', 'Delete'))) return;
      await call('DELETE', path);
      location.hash = '#/models';
    }, { class: 'danger' })));
}

async function activityTab({ it, path, signal }) {
  const a = await get(`${path}/activity`, signal);
  if (!a.layers?.length) return empty('No activity counted yet', 'Ask for a prediction first: activity is counted from the running network.', h('a.button', { href: to('models', it.name, 'try') }, 'Try it'));
  const macs = a.macs ?? {};
  const energy = a.energy_joules ?? {};
  const fires = h('div');
  return h('div.stack',
    tiles([['Multiply-adds a prediction', short(macs.effective), `of ${short(macs.dense)} dense`], ['Saved', macs.effective > 0 ? `${num(macs.dense / macs.effective, 2)}×` : '–'],
      ['Energy', energy.measured != null ? `${short(energy.measured * 1e6)} µJ` : energy.estimated != null ? `${num(energy.estimated * 1e6, 2)} µJ` : '–', energy.measured != null ? 'measured' : 'estimated'],
      ['Size', bytes(a.bytes)], ['Rows counted', num(a.rows)]]),
    card('Layers', table('Layers', [['Layer'], ['Units', 'num'], ['Active', 'num'], ['Share'], ['Dead', 'num'], ['Duty cycle: least, median, most', 'num']], a.layers.map((layer) => {
      const bar = meter(`Active share of ${layer.name}`);
      bar.set(layer.active_share);
      return h('tr', h('th', { scope: 'row' }, layer.name), h('td.num', num(layer.units)), h('td.num', num(layer.winners)),
        h('td', bar.node, h('span.small.mute', percent(layer.active_share))), h('td.num', num(layer.dead_units)),
        h('td.num', [layer.duty_cycle?.min, layer.duty_cycle?.median, layer.duty_cycle?.max].map((v) => percent(v)).join(' · ')));
    }))),
    card('Operations a prediction', bars([['dense network', macs.dense], ['effective', macs.effective], ['finding winners', macs.top_k], ['memory search', macs.memory]].map(([name, value]) => ({ name, value: value ?? 0 })), short), energy.method ? h('p.small.mute', `Energy: ${energy.method}`) : null),
    source(it) ? card('Which units fire for what', h('div.stack.tight', h('p.small.mute', 'A line a row of the data, grouped by answer; a dot is an active unit.'),
      act('Look at 40 rows', () => into(fires, async () => {
        const page = await get(`/datasets/${encodeURIComponent(source(it))}/rows?offset=0&limit=40`, signal);
        const names = new Set(features(it).map((one) => one.name));
        const rows = (page.items ?? page.rows ?? page).map((row) => Object.fromEntries(Object.entries(row).filter(([key]) => names.has(key))));
        const made = await post(`${path}/predict`, { rows, explain: true }, signal);
        const seen = made.predictions.map((p) => ({ label: String(p.label ?? num(p.value)), units: units(p) })).sort((x, y) => x.label.localeCompare(y.label, 'en', { numeric: true }));
        if (!seen.some((row) => row.units.length)) return h('p.mute', 'This family does not tell its active units.');
        return [raster(seen, `Active units of ${seen.length} rows`), h('p.small.mute', 'From top to bottom: ', [...new Set(seen.map((row) => row.label))].join(', '))];
      })), fires)) : null);
}

/** Active units of an explained answer as `[unit, strength]`. */
export const units = (p) => (p.explanation?.active_units ?? []).map((u) => (Array.isArray(u) ? u : typeof u === 'number' ? [u, 1] : [u.unit ?? u.index ?? u.id, u.activation ?? u.strength ?? 1]));

async function streamTab({ it, path, name, signal }) {
  const s = await get(`${path}/stream`, signal);
  const life = s.prequential ?? s.lifetime ?? s.life ?? s;
  const history = s.history ?? [];
  if (!history.length && !(s.observed ?? life.observed)) {
    return empty('Nothing was observed yet', 'Send labelled rows as they happen; the model learns from each at once.', h('pre', { tabindex: '0' }, `curl ${location.host}/api/v1/models/${name}/observe \\\n  --json '{"rows":[{ … , "${it.target ?? 'target'}": … }]}'`));
  }
  const figure = history.some((p) => p.accuracy != null) || life.accuracy != null ? 'accuracy' : 'mae';
  const x = (p, i) => p.observed ?? p.rows ?? p.at_row ?? i;
  const marks = history.filter((p) => p.drift === true || p.drift?.detected).map((p, i) => ({ x: x(p, i), label: 'drift' })).concat((s.drifts ?? []).map((d) => ({ x: d.observed ?? d.row ?? d, label: 'drift' })));
  return h('div.stack',
    tiles([['Observed', num(s.observed ?? life.observed), 'rows'], [`${figure}, whole life`, figure === 'accuracy' ? percent(life.accuracy) : num(life[figure])],
      ['lately', figure === 'accuracy' ? percent(s.window?.accuracy ?? (typeof life.window === 'object' ? life.window?.accuracy : life.window)) : num(s.window?.[figure])],
      ['Kappa', num(life.kappa ?? s.window?.kappa)], ['Drift', s.drift?.detected ? 'yes' : 'none', s.drift?.detected ? 'something changed' : ''], ['Memory', num(s.memory?.entries), s.memory ? `of ${num(s.memory.capacity)}` : '']]),
    card('Tested on each row before learning from it', lines(figure, [
      { name: 'lately', points: history.map((p, i) => [x(p, i), p.window_accuracy ?? p.window?.accuracy ?? p.window ?? p[figure]]).filter((p) => typeof p[1] === 'number'), color: 1 },
      { name: 'whole life', points: history.map((p, i) => [x(p, i), p[figure]]).filter((p) => typeof p[1] === 'number'), color: 3 }], { format: figure === 'accuracy' ? (v) => percent(v) : num, xLabel: 'rows', marks, height: 240 })),
    card(null, h('div.row.between', h('h2', 'Consolidations'), act('Consolidate now', async () => {
      const job = await post(`${path}/consolidate`, {});
      location.hash = to('jobs', job.id);
    })), s.consolidations?.length ? table('Consolidations', [['When'], ['Version'], ['Result']], s.consolidations.map((c) => h('tr', h('td', ago(c.at ?? c.created_at)), h('td', c.version ?? '–'), h('td', c.accepted === false ? 'not taken over' : c.reason ?? 'taken over'))))
      : h('p.mute.small', 'None yet. In a consolidation, as in sleep, what was remembered is replayed into the slow part.')));
}

function memoryTab({ it, path, signal }) {
  const label = h('input', { type: 'search', placeholder: 'label', 'aria-label': 'Only this label', spellcheck: 'false', onchange: () => list.restart() });
  const column = select(features(it).map((f) => f.name).concat(it.target ?? []), it.target, { 'aria-label': 'Column' });
  const value = h('input', { 'aria-label': 'Value', placeholder: 'value', required: true });
  const load = (cursor) => get(`${path}/memory?${new URLSearchParams({ limit: 25, ...(cursor ? { cursor } : {}), ...(label.value.trim() ? { label: label.value.trim() } : {}) })}`, signal);
  const list = paged(load, (items) => (items.length ? table('Memories', [['Label'], ['Row'], ['Since'], ['Actions']], items.map((m) => h('tr',
    h('th', { scope: 'row' }, cell(m.label ?? m.value ?? m.target)), h('td.cell', m.row ? Object.entries(m.row).map(([k, v]) => `${k} ${cell(v, 24)}`).join(', ') : '–'), h('td', ago(m.created_at ?? m.at)),
    h('td', act('Forget', async () => {
      await call('DELETE', `${path}/memory/${encodeURIComponent(m.id)}`);
      toast('Forgotten.');
      list.refresh();
    }, { class: 'slim danger', 'aria-label': `Forget memory ${m.id}` })))))
    : empty('It remembers nothing', 'Single examples are remembered by the memory and hybrid families, from training and from what they observe.')), signal);
  return h('div.stack',
    card(null, h('div.row.between', h('h2', 'What it remembers'), label), list.node),
    card('Forget all that match', h('form.row', { onsubmit: async (event) => {
      event.preventDefault();
      if (!(await sure('Forget these memories?', `Every memory whose ${column.value} is “${value.value}” is erased.`, 'Forget'))) return;
      try {
        const kind = features(it).find((f) => f.name === column.value)?.kind;
        const made = await post(`${path}/forget`, { where: { [column.value]: kind === 'number' ? Number(value.value) : value.value } });
        toast(`${num(made?.forgotten ?? made?.removed)} memories erased.`);
        list.restart();
      } catch (error) { toast(error.message, true); }
    } }, column, h('span.mute', 'is'), value, h('button.danger', 'Forget'))));
}

