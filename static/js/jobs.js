// The queue as a list, and one job as it goes.

import { h, put, num, percent, short, words, link, go, ago, select } from './dom.js';
import { get, list, post } from './api.js';
import { clock, ended } from './live.js';
import { heading, card, empty, paged, jobTable, follow, pace, meter, chip, lossSeries, act, toast, cancel, trouble, figures, reload } from './parts.js';
import { lines } from './charts.js';

/** `#/jobs`: all of them, newest first, a page at a time. */
export function jobs(signal) {
  const status = select([['', 'any status'], 'queued', 'running', 'succeeded', 'failed', 'canceled'], '', { 'aria-label': 'Status' });
  const kind = select([['', 'any kind'], 'train', 'consolidate', 'evaluate'], '', { 'aria-label': 'Kind' });
  const model = h('input', { type: 'search', placeholder: 'model', 'aria-label': 'Model', spellcheck: 'false' });
  let lively = false;
  const pages = paged((cursor) => list('/jobs', { limit: 50, status: status.value, kind: kind.value, model: model.value.trim(), cursor }, signal), (items) => {
    lively = items.some((job) => !ended(job));
    return items.length ? jobTable(items) : empty('No such job', 'Jobs appear here when a training, a consolidation or an evaluation is asked for.', go('Start one from a dataset', 'datasets'));
  }, signal);
  for (const node of [status, kind, model]) node.addEventListener('change', pages.restart);
  clock(async () => {
    // The list is not redrawn under someone's keyboard focus.
    if (lively && !pages.node.contains(document.activeElement)) await pages.quiet();
  }, () => 5000, signal);
  return [heading('Jobs', null, status, kind, model), card(null, pages.node)];
}

/** `#/jobs/{id}`: progress, curves and log, live. */
export async function job(signal, id) {
  const first = await get(`/jobs/${id}`, signal);
  const state = h('span');
  const tools = h('div.row');
  const bar = meter('Progress');
  const text = h('span.mute');
  const tilesBox = h('div');
  const losses = h('div.busy');
  const scores = h('div.busy');
  const log = h('pre.log', { tabindex: '0', 'aria-label': 'Log' });
  const logCard = h('section.card.hide', h('h2', 'Log'), log);
  let shown = '';
  let drawn = -1;

  const draw = ({ job: now, curves }) => {
    const p = now.progress ?? {};
    if (shown !== now.status) {
      shown = now.status;
      put(state, chip(now.status));
      put(tools, ended(now)
        ? [now.status === 'succeeded' ? go('See the model', 'models', now.model) : act('Try again', async () => {
          await post(`/jobs/${now.id}/retry`, {});
          toast('Queued again.');
          reload();
        }, { class: 'main' })]
        : cancel(now));
    }
    const share = now.status === 'succeeded' ? 1 : p.fraction ?? 0;
    bar.set(share);
    put(text, `${percent(share, 0)} · ${pace(now)}`);
    put(tilesBox, figures(now.metrics, [['Epoch', p.epochs ? `${p.epoch} / ${p.epochs}` : '–'], ['Speed', short(p.rows_per_second), 'rows/s']]));
    const points = [...curves.values()].flat().length;
    if (points === drawn) return;
    drawn = points;
    put(losses, lines('Loss', lossSeries(curves)));
    const other = [...curves].filter(([name]) => /accuracy|r2|rmse/.test(name)).map(([name, line], i) => ({ name: words(name), points: line, color: i + 1 }));
    put(scores, lines('Quality', other, { format: curves.has('validation_accuracy') ? (v) => percent(v) : num }));
  };
  draw({ job: first, curves: new Map() });
  follow(first, draw, signal, (line) => {
    logCard.classList.remove('hide');
    const end = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
    log.append(`${line}\n`);
    if (end) log.scrollTop = log.scrollHeight;
  });

  const facts = [['Asked for', ago(first.created_at)], ['Attempt', num(first.attempt)], first.resumed_from_step ? ['Resumed from step', num(first.resumed_from_step)] : null, ['Priority', num(first.priority)], ['Id', h('span.mono', first.id)]].filter(Boolean);
  return [
    heading(`${words(first.kind)} ${first.model}`, [link('Jobs', 'jobs'), first.version ? ` / version ${first.version}` : ''], state, tools),
    h('div.stack',
      first.error ? trouble(Object.assign(new Error(first.error.detail ?? first.error), { details: first.error.details })) : null,
      h('section.card.stack.tight', { 'aria-label': 'Progress' }, h('div.row.between', text), bar.node),
      tilesBox,
      h('div.grid2', card('Loss', losses), card('Quality', scores)),
      logCard,
      card('About', h('dl.kv', facts.map(([name, value]) => [h('dt', name), h('dd', value)])))),
  ];
}

