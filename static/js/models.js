// The list of models, and one model's page: try it, quality, versions, activity, stream, memory.

import { h, put, num, percent, bytes, short, words, to, link, go, ago, select, field, table, cell } from './dom.js';
import { get, list, post, call, download } from './api.js';
import { heading, card, tiles, empty, paged, into, act, toast, sure, chip, quality, keep, curvesOf, lossSeries, meter, named, figures, reload } from './parts.js';
import { lines, bars, confusion, calibration, raster } from './charts.js';
import { features, rowForm, valueOf } from './forms.js';
import { answer, units } from './answer.js';

/** `#/models`: a page at a time. */
export function models(signal) {
  const pages = paged((cursor) => list('/models', { limit: 50, cursor }, signal), (items) => (items.length
    ? table('Models', ['Model', 'Family', 'Task', '#Quality', '#Size', 'Updated'], items.map((m) => [named(m), words(m.family ?? '–'), m.task, quality(m.metrics), bytes(m.bytes), ago(m.updated_at)]))
    : empty('No model yet', 'A model is made by its first training. Pick a dataset and press “Train”.', go('Go to datasets', 'datasets'))), signal);
  return [heading('Models'), card(null, pages.node)];
}

const TABS = { try: ['Try it', tryIt], quality: ['Quality', qualityTab], versions: ['Versions', versionsTab], activity: ['Activity', activityTab], stream: ['Stream', streamTab], memory: ['Memory', memoryTab] };

/** `#/models/{name}/{tab}`. */
export async function model(signal, name, tab = 'try') {
  const path = `/models/${name}`;
  const it = await get(path, signal);
  const body = h('div');
  into(body, () => (TABS[tab] ?? TABS.try)[1]({ it, path, name, signal }));
  return [
    heading(name, [link('Models', 'models'), ` / ${words(it.family ?? '')}`],
      it.version ? h('span.chip.good', `version ${it.version} answers`) : chip('no version yet'),
      h('span.mute.small', it.target ? `predicts ${it.target}` : '', it.metrics ? ` · ${quality(it.metrics)}` : '')),
    h('nav.tabs', { 'aria-label': 'Parts of the model' }, Object.entries(TABS).map(([key, [text]]) => h('a', { href: to('models', name, key), 'aria-current': key === tab ? 'page' : null }, text))),
    body,
  ];
}

/** The dataset the served version learned from, if it is still there. */
async function source(it, signal) {
  const name = it.versions.find((v) => v.version === it.version)?.dataset?.name;
  return name ? get(`/datasets/${name}`, signal).catch(() => null) : null;
}

/** Rows of that dataset, with the columns that the model reads. */
async function someRows(set, columns, offset, limit, signal) {
  const { rows } = await list(`/datasets/${set.name}/rows`, { offset, limit }, signal);
  return rows.map((row) => [row, Object.fromEntries(columns.map((column) => [column.name, valueOf(row, column)]))]);
}

async function tryIt({ it, path, name, signal }) {
  if (!it.version) return empty('Nothing answers yet', 'The first version appears when its training ends.', go('See the jobs', 'jobs'));
  const set = await source(it, signal);
  const columns = features(it, set);
  const out = h('div.busy', { 'aria-live': 'polite' }, empty('The answer shows here', 'Fill in a row, or take one from the data.'));
  let truth = null;
  const predict = () => into(out, async () => {
    const row = form.row();
    const made = await post(`${path}/predict`, { rows: [row], top_k: 10, coverage: Number(cover.value), explain: true }, signal);
    return [truth, answer(made, it, columns, row, path)];
  });
  const form = rowForm(columns, () => { if (columns.length === 1) predict(); });
  const cover = select([[0.8, '80 %'], [0.9, '90 %'], [0.95, '95 %'], [0.99, '99 %']], 0.9, { name: 'coverage', id: 'cover' });
  const node = h('form.stack', { onsubmit: (event) => { event.preventDefault(); predict(); } }, form.node,
    h('div.row', h('button.main', 'Predict'),
      set ? act('Take a row from the data', async () => {
        const [[row, seen]] = await someRows(set, columns, Math.floor(Math.random() * set.rows), 1, signal);
        form.set(seen);
        truth = h('p.small.mute', 'The data say: ', h('strong', cell(row[it.target])));
        await predict();
        truth = null;
      }) : null,
      h('span.row.small', h('label', { for: 'cover' }, 'sets that hold the truth'), cover)));
  keep(node, name);
  form.restore();
  return h('div.grid2', card('A row', node), card('Answer', out));
}

/** What an evaluation found, as pictures. */
const evaluated = (e) => [
  h('div.grid2',
    e.calibration?.length ? card('Calibration', calibration(e.calibration)) : null,
    e.coverage?.length ? card('Sets that hold the truth', table('Coverage', ['#Asked', '#Reached', '#Size'], e.coverage.map((c) => [percent(c.asked, 0), percent(c.reached), num(c.size)]))) : null),
  e.confusion?.length ? card('Confusion', confusion(e.classes.map(String), e.confusion)) : null,
];

async function qualityTab({ it, path, signal }) {
  const { items } = await get(`${path}/versions`, signal);
  if (!items.length) return empty('Nothing to measure yet', 'Figures appear when the first training ends.');
  const body = h('div.stack');
  const pick = select(items.map((v) => [v.version, `version ${v.version}${v.version === it.version ? ' (answers)' : ''}`]), it.version ?? items[0].version, { 'aria-label': 'Version', onchange: () => draw() });
  const draw = () => into(body, async () => {
    const version = items.find((v) => v.version === Number(pick.value));
    const curves = version.job_id ? await curvesOf(version.job_id, signal).catch(() => new Map()) : new Map();
    return [figures(version.metrics), h('div.grid2', curves.size ? card('Learning', lines('Loss', lossSeries(curves))) : null,
      version.version === it.version && (it.family_reason || it.notes?.length) ? card('Why this model', h('ul.list', [it.family_reason, ...(it.notes ?? [])].filter(Boolean).map((line) => h('li', line)))) : null), evaluated(version.held_out ?? {})];
  });
  draw();
  const set = h('input', { 'aria-label': 'Dataset', placeholder: 'dataset', value: items[0].dataset?.name ?? '', spellcheck: 'false' });
  const result = h('div.stack');
  return h('div.stack', h('div.row', pick), body,
    card('Measure on a dataset', h('div.stack', h('form.row', { onsubmit: (event) => {
      event.preventDefault();
      into(result, async () => {
        const made = await post(`${path}/evaluate`, { dataset: set.value.trim() }, signal);
        return made.kind ? h('p', 'This takes a while: ', link('see the job', 'jobs', made.id), '.') : [figures(made.metrics), evaluated(made)];
      });
    } }, set, h('button', 'Evaluate')), result)));
}

async function versionsTab({ it, path, name, signal }) {
  const { items } = await get(`${path}/versions`, signal);
  if (!items.length) return empty('No version yet', 'Each finished training makes one.', go('Train from a dataset', 'datasets'));
  const done = (text) => { toast(text); reload(); };
  const options = items.map((v) => [v.version, `version ${v.version}`]);
  const now = it.traffic ?? {};
  const stable = select(options, now.stable ?? it.version);
  const canary = select([['', 'none'], ...options], now.canary?.version);
  const weight = h('input', { type: 'range', min: 0, max: 100, step: 1, value: Math.round((now.canary?.weight ?? 0.1) * 100) });
  const share = h('span.hint');
  const told = () => put(share, canary.value ? `${weight.value} % of the requests go to version ${canary.value}` : 'no canary');
  weight.addEventListener('input', told);
  canary.addEventListener('change', told);
  told();
  const shadow = select([['', 'none'], ...options], now.shadow);
  return h('div.stack',
    card(null, h('div.row.between', h('h2', 'Versions'),
      act('Roll back', async () => { await post(`${path}/rollback`, {}); done('The version before answers now.'); })),
    table('Versions', ['Version', 'State', 'Family', '#Quality', '#Size', 'Made', 'Actions'], items.toSorted((a, b) => b.version - a.version).map((v) => [
      v.job_id ? link(`v${v.version}`, 'jobs', v.job_id) : `v${v.version}`, chip(v.state), words(v.family), quality(v.metrics), bytes(v.bytes), ago(v.created_at),
      h('span.row',
        v.state === 'served' ? null : act('Promote', async () => { await post(`${path}/versions/${v.version}/promote`, {}); done(`Version ${v.version} answers now.`); }, { class: 'slim', 'aria-label': `Promote version ${v.version}` }),
        act('Export', () => download(`${path}/versions/${v.version}/export?format=bundle`, `${name}-v${v.version}.bundle`), { class: 'slim', 'aria-label': `Export version ${v.version}` }))]))),
    card('Traffic', h('div.stack', h('div.fields',
      field('Stable', stable), field('Canary', canary), h('div', field('Canary share', weight), share), field('Shadow', shadow, 'answers are compared, not sent')),
    h('div.row', act('Set traffic', async () => {
      await call('PUT', `${path}/traffic`, { stable: Number(stable.value), ...(canary.value ? { canary: { version: Number(canary.value), weight: weight.value / 100 } } : {}), ...(shadow.value ? { shadow: Number(shadow.value) } : {}) });
      done('The traffic is split as you said.');
    }, { class: 'main' })))),
    act('Delete this model', async () => {
      if (!(await sure(`Delete ${name}?`, 'All its versions and everything it remembers are gone then.', 'Delete'))) return;
      await call('DELETE', path);
      location.hash = '#/models';
    }, { class: 'danger' }));
}

async function activityTab({ it, path, signal }) {
  const a = await get(`${path}/activity`, signal);
  if (!a.layers?.length) return empty('No activity counted yet', 'Ask for a prediction first: activity is counted from the running network.', go('Try it', 'models', it.name, 'try'));
  const set = await source(it, signal);
  const { macs, energy_joules: energy } = a;
  const joules = energy.measured ?? energy.estimated;
  const fires = h('div');
  return h('div.stack',
    tiles([['Multiply-adds a prediction', short(macs.effective), `of ${short(macs.dense)} dense`], ['Saved', macs.effective > 0 ? `${num(macs.dense / macs.effective, 2)}×` : '–'],
      ['Energy', joules == null ? '–' : `${num(joules * 1e6, 2)} µJ`, energy.measured == null ? 'estimated' : 'measured'], ['Size', bytes(a.bytes)], ['Rows counted', num(a.rows)]]),
    card('Layers', table('Layers', ['Layer', '#Units', '#Active', 'Share', '#Dead', '#Duty cycle: least, median, most'], a.layers.map((layer) => {
      const bar = meter(`Active share of ${layer.name}`);
      bar.set(layer.active_share);
      const duty = layer.duty_cycle ?? {};
      return [layer.name, num(layer.units), num(layer.winners), [bar.node, h('span.small.mute', percent(layer.active_share))], num(layer.dead_units), [duty.min, duty.median, duty.max].map((v) => percent(v)).join(' · ')];
    }))),
    card('Operations a prediction', bars([['dense network', macs.dense], ['effective', macs.effective], ['finding winners', macs.top_k], ['memory search', macs.memory]].map(([name, value]) => ({ name, value: value ?? 0 })), short), energy.method ? h('p.small.mute', `Energy: ${energy.method}`) : null),
    set ? card('Which units fire for what', h('div.stack.tight', h('p.small.mute', 'A line a row of the data, grouped by answer; a dot is an active unit.'),
      act('Look at 40 rows', () => into(fires, async () => {
        const rows = await someRows(set, features(it), 0, 40, signal);
        const made = await post(`${path}/predict`, { rows: rows.map(([, row]) => row), explain: true }, signal);
        const seen = made.predictions.map((p) => ({ label: String(p.label ?? num(p.value)), units: units(p) })).sort((x, y) => x.label.localeCompare(y.label, 'en', { numeric: true }));
        if (!seen.some((row) => row.units.length)) return h('p.mute', 'This family does not tell its active units.');
        return [raster(seen, `Active units of ${seen.length} rows`), h('p.small.mute', 'From top to bottom: ', [...new Set(seen.map((row) => row.label))].join(', '))];
      })), fires)) : null);
}

async function streamTab({ it, path, name, signal }) {
  const s = await get(`${path}/stream`, signal);
  const { prequential: p, history, consolidations } = s;
  if (!s.observed) {
    return empty('Nothing was observed yet', 'Send labelled rows as they happen; the model learns from each at once.', h('pre', { tabindex: '0' }, `curl ${location.host}/api/v1/models/${name}/observe \\\n  --json '{"rows":[{ … , "${it.target}": … }]}'`));
  }
  const figure = p.accuracy == null ? 'mae' : 'accuracy';
  const show = figure === 'mae' ? num : (v) => percent(v);
  return h('div.stack',
    tiles([['Observed', num(s.observed), 'rows'], [`${figure}, whole life`, show(p[figure])], ['lately', show(p.window)],
      p.kappa_last == null ? ['Last value', num(p.window_last_value)] : ['Kappa against “as before”', num(p.kappa_last)],
      ['Drift', s.drift.detected ? 'now' : s.drift.count ? `${s.drift.count} times` : 'none'], ['Memory', num(s.memory.entries), `of ${num(s.memory.capacity)}`]]),
    card('Tested on each row before learning from it', lines(figure, [{ name: `${figure} lately`, points: history.map((one) => [one.row, one[figure]]), color: 1 }],
      { format: show, xLabel: 'rows', height: 240, marks: s.drift.rows })),
    Object.keys(s.classes ?? {}).length ? card('Recall by class', bars(Object.entries(s.classes).map(([name, c]) => ({ name, value: c.recall, of: 1 })), percent, 20)) : null,
    card(null, h('div.row.between', h('h2', 'Consolidations'), act('Consolidate now', async () => {
      const job = await post(`${path}/consolidate`, {});
      location.hash = to('jobs', job.id);
    })), consolidations.length ? table('Consolidations', ['After rows', '#Before', '#After', 'Result'], consolidations.map((c) => [num(c.rows), show(c.before), show(c.after), c.accepted ? 'taken over' : 'not taken over']))
      : h('p.mute.small', 'None yet. In a consolidation, as in sleep, what was remembered is replayed into the slow part.')));
}

function memoryTab({ it, path, signal }) {
  const columns = features(it);
  const label = h('input', { type: 'search', placeholder: 'label', 'aria-label': 'Only this label', spellcheck: 'false', onchange: () => pages.restart() });
  const column = select([it.target, ...columns.map((f) => f.name)], it.target, { 'aria-label': 'Column' });
  const value = h('input', { 'aria-label': 'Value', placeholder: 'value', required: true });
  const pages = paged((cursor) => list(`${path}/memory`, { limit: 25, cursor, label: label.value.trim() }, signal), (items) => (items.length
    ? table('Memories', ['Label', 'Row', '#Used', 'Actions'], items.map((m) => [cell(m.label ?? m.value), h('div.cell', Object.entries(m.row ?? {}).map(([k, v]) => `${k} ${cell(v, 24)}`).join(', ')), num(m.uses),
      act('Forget', async () => {
        await call('DELETE', `${path}/memory/${encodeURIComponent(m.id)}`);
        toast('Forgotten.');
        pages.refresh();
      }, { class: 'slim danger', 'aria-label': `Forget memory ${m.id}` })]))
    : empty('It remembers nothing', 'Single examples are remembered by the memory and hybrid families, from training and from what they observe.')), signal);
  return h('div.stack',
    card(null, h('div.row.between', h('h2', 'What it remembers'), label), pages.node),
    card('Forget all that match', h('form.row', { onsubmit: async (event) => {
      event.preventDefault();
      if (!(await sure('Forget these memories?', `Every memory whose ${column.value} is “${value.value}” is erased.`, 'Forget'))) return;
      try {
        const number = columns.find((f) => f.name === column.value)?.kind === 'number';
        const made = await post(`${path}/forget`, { where: { [column.value]: number ? Number(value.value) : value.value } });
        toast(`${num(made?.forgotten)} memories erased.`);
        pages.restart();
      } catch (error) { toast(error.message, true); }
    } }, column, h('span.mute', 'is'), value, h('button.danger', 'Forget'))));
}
