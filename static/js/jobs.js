// The queue as a list, and one job as it goes.

import { h, put, num, percent, short, words, to, link, go, ago, select } from './dom.js';
import { get, list, post } from './api.js';
import { clock, ended } from './live.js';
import { heading, card, tiles, empty, paged, jobTable, follow, pace, meter, chip, lossSeries, act, toast, cancel, trouble } from './parts.js';
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
  const figures = h('div');
  const losses = h('div.busy');
  const scores = h('div.busy');
  const log = h('pre.log', { tabindex: '0', 'aria-label': 'Log' });
  const logCard = h('section.card.hide', h('h2', 'Log'), log);
  let shown = '';
  let drawn = '';

  const draw = ({ job: now, curves }) => {
    const p = now.progress ?? {};
    if (shown !== now.status) {
      shown = now.status;
      put(state, chip(now.status));
      put(tools, ended(now)
        ? [now.status === 'succeeded' ? go('See the model', 'models', now.model) : act('Try again', async () => {
          const made = await post(`/jobs/${now.id}/retry`, {});
          toast('Queued again.');
          if (made?.id && made.id !== now.id) location.hash = to('jobs', made.id);
          else dispatchEvent(new HashChangeEvent('hashchange'));
        }, { class: 'main' })]
        : cancel(now));
    }
    bar.set(now.status === 'succeeded' ? 1 : p.fraction);
    put(text, `${percent(now.status === 'succeeded' ? 1 : p.fraction ?? 0, 0)} · ${pace(now)}`);
    const m = now.metrics ?? {};
    put(figures, tiles([
      ['Epoch', p.epochs ? `${p.epoch ?? 0} / ${p.epochs}` : '–'],
      ['Speed', short(p.rows_per_second), 'rows/s'],
      ...Object.entries(m).filter(([, v]) => typeof v === 'number').slice(0, 4).map(([name, v]) => [words(name), /accuracy|coverage/.test(name) ? percent(v) : num(v)]),
    ]));
    const key = [...curves].map(([name, points]) => `${name}${points.length}${points.at(-1)?.[1]}`).join();
    if (key !== drawn) {
      drawn = key;
      put(losses, lines('Loss', lossSeries(curves)));
      const other = [...curves].filter(([name]) => /accuracy|r2|rmse|f1/.test(name)).slice(0, 3);
      put(scores, other.length ? lines('Quality', other.map(([name, points], i) => ({ name: words(name), points, color: i + 1 })), { format: other.every(([name]) => /accuracy|f1/.test(name)) ? (v) => percent(v) : num })
        : h('p.mute.small', 'Measured at the end of each epoch.'));
    }
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
      figures,
      h('div.grid2', card('Loss', losses), card('Quality', scores)),
      logCard,
      card('About', h('dl.kv', facts.map(([name, value]) => [h('dt', name), h('dd', value)])))),
  ];
}

