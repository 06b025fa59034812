// Datasets: upload, look, train from.

import { h, put, num, bytes, words, to, link, ago, select, field, table, cell } from './dom.js';
import { get, list, post, call } from './api.js';
import { heading, card, tiles, empty, paged, act, sure, keep, trouble, into } from './parts.js';
import { histogram } from './charts.js';
import { settingsForm, shown, valueOf } from './forms.js';
import { dropZone, nameOf } from './upload.js';

const KINDS = ['number', 'category', 'boolean', 'timestamp', 'text', 'vector', 'sequence', 'image'];

/** `#/datasets`. */
export function datasets(signal) {
  const pages = paged((cursor) => list('/datasets', { limit: 50, cursor }, signal), (items) => (items.length
    ? table('Datasets', ['Name', '#Rows', '#Columns', '#Size', 'Updated'], items.map((set) => [link(set.name, 'datasets', set.name), num(set.rows), num(set.columns.length), bytes(set.bytes), ago(set.updated_at)]))
    : empty('No data yet', 'Drop a file above: its columns and their kinds are read from it.')), signal);
  return [heading('Datasets'), h('div.stack', dropZone(signal), card(null, pages.node))];
}

/** `#/datasets/{name}`: columns, rows, training. */
export async function dataset(signal, name) {
  const path = `/datasets/${name}`;
  const set = await get(path, signal);
  const preview = h('div.busy');
  let offset = 0;
  const size = 10;
  const rows = () => into(preview, async () => {
    const page = await list(`${path}/rows`, { offset, limit: size }, signal);
    const columns = set.columns.slice(0, 40);
    return [table('Rows', ['Row', ...columns.map((c) => c.name)], page.rows.map((row, i) => [num(offset + i + 1), ...columns.map((c) => h('div.cell', shown(valueOf(row, c), c) ?? cell(valueOf(row, c))))])),
    h('nav.pager', { 'aria-label': 'Rows' }, `${num(offset + 1)} to ${num(offset + page.rows.length)} of ${num(set.rows)}`,
      h('button.slim', { type: 'button', disabled: offset === 0, onclick: () => { offset = Math.max(0, offset - size); rows(); } }, 'Previous'),
      h('button.slim', { type: 'button', disabled: offset + size >= set.rows, onclick: () => { offset += size; rows(); } }, 'Next'))];
  });
  rows();

  return [
    heading(name, link('Datasets', 'datasets'), act('Delete', async () => {
      if (!(await sure(`Delete ${name}?`, 'The rows are gone then. Models trained from them stay.', 'Delete'))) return;
      await call('DELETE', path);
      location.hash = '#/datasets';
    }, { class: 'danger' })),
    h('div.stack',
      tiles([['Rows', num(set.rows)], ['Columns', num(set.columns.length)], ['Size', bytes(set.bytes)], ['Revision', num(set.revision)], ['Updated', ago(set.updated_at)]]),
      card('Train a model', await trainForm(set, signal)),
      card('Columns', table('Columns', ['Column', 'Kind', 'Spread', '#Missing', '#Distinct', 'Range', '#Mean', 'Examples'], set.columns.map((c) => [
        c.name, [c.kind, c.shape?.length ? h('span.mute', ` ${c.shape.join('×')}`) : null], c.histogram?.length ? histogram(c.histogram.map(([, n]) => n), `How ${c.name} is spread`) : '', c.missing ? num(c.missing) : '–', num(c.distinct),
        h('div.cell', c.min == null ? '–' : `${cell(c.min)} to ${cell(c.max)}`), num(c.mean), h('div.cell.mute', (c.examples ?? []).slice(0, 3).map((e) => cell(e, 24)).join(', '))]))),
      card('Rows', preview)),
  ];
}

async function trainForm(set, signal) {
  const { items: families } = await get('/families', signal);
  const answers = set.columns.filter((c) => !['vector', 'sequence', 'image'].includes(c.kind)).map((c) => c.name);
  const target = select(answers, answers.findLast((name) => /^(label|class|target|species|answer)$/i.test(name)) ?? answers.at(-1), { name: 'target' });
  const model = h('input', { name: 'model', value: nameOf(set.name), pattern: '[a-z0-9][a-z0-9_\\-]{0,62}', required: true, spellcheck: 'false' });
  const family = select([['', 'Let Kenyon choose'], ...families.map((f) => [f.name, words(f.name)])], '', { name: 'family' });
  const task = select([['', 'from the target'], 'classification', 'regression'], '', { name: 'task' });
  const share = h('input', { name: 'validation', type: 'number', min: 0.05, max: 0.9, step: 0.05, value: 0.2 });
  const seed = h('input', { name: 'seed', type: 'number', step: 1, min: 0, placeholder: 'any' });
  const settings = h('div');
  let drawn = null;
  const kinds = set.columns.slice(0, 60).map((c) => [c.name, select([['', `${c.kind} (as read)`], ...KINDS.filter((k) => k !== c.kind), 'ignore'], '', { name: `k:${c.name}` })]);
  const said = h('div');
  const form = h('form.stack', { onsubmit: async (event) => {
    event.preventDefault();
    const features = Object.fromEntries(kinds.filter(([, node]) => node.value).map(([name, node]) => [name, node.value]));
    const config = drawn?.config() ?? {};
    const body = { dataset: set.name, target: target.value, validation: Number(share.value) };
    if (family.value) body.family = family.value;
    if (task.value) body.task = task.value;
    if (seed.value !== '') body.seed = Number(seed.value);
    if (Object.keys(features).length) body.features = features;
    if (Object.keys(config).length) body.config = config;
    try {
      const job = await post(`/models/${model.value}/train`, body);
      location.hash = to('jobs', job.id);
    } catch (error) { put(said, trouble(error)); }
  } });
  const draw = () => {
    const one = families.find((f) => f.name === family.value);
    drawn = one ? settingsForm(one) : null;
    put(settings, drawn ? h('details', h('summary', `Settings of ${words(one.name)}`), h('p.hint', one.description), drawn.node) : null);
  };
  family.addEventListener('change', draw);
  form.append(
    h('div.fields', field('Predict', target), field('Name of the model', model), field('Family', family, 'left to itself, Kenyon says why it chose')),
    h('details', h('summary', 'More: task, hold-out, seed, kinds of columns'), h('div.stack',
      h('div.fields', field('Task', task), field('Share held out', share, '0.2 is usual'), field('Seed', seed)),
      h('div.fields', kinds.map(([name, node]) => field(name, node))))),
    settings, h('div.row', h('button.main', 'Train')), said);
  keep(form, `train:${set.name}`);
  draw();
  keep(form, `train:${set.name}`);
  return form;
}
