// The first page: what runs, what answers, how the server is.

import { h, put, num, seconds, bytes, percent, words, table, link, go } from './dom.js';
import { get, text } from './api.js';
import { clock } from './live.js';
import { card, tiles, empty, jobCard, quality, heading, trouble, named } from './parts.js';
import { dropZone } from './upload.js';

const SHOWN = 8;

/** Sums a Prometheus counter by its `model` label. */
function byModel(metrics, name) {
  const sums = new Map();
  for (const line of metrics.split('\n')) {
    if (!line.startsWith(name) || !' {'.includes(line[name.length])) continue;
    const model = /model="([^"]*)"/.exec(line)?.[1] ?? '';
    sums.set(model, (sums.get(model) ?? 0) + Number(line.slice(line.lastIndexOf(' '))));
  }
  return sums;
}

/** Requests a second and mean latency per model, from two readings of the server's metrics. */
function traffic() {
  let before = null;
  return async (signal) => {
    const now = { at: performance.now(), metrics: await text('/metrics', signal) };
    const read = (reading, name) => byModel(reading.metrics, name);
    const rates = new Map();
    if (before) {
      const span = (now.at - before.at) / 1000;
      const counts = read(now, 'kenyon_predict_total_duration_seconds_count');
      const earlier = read(before, 'kenyon_predict_total_duration_seconds_count');
      const sums = read(now, 'kenyon_predict_total_duration_seconds_sum');
      const sumsEarlier = read(before, 'kenyon_predict_total_duration_seconds_sum');
      for (const [model, count] of counts) {
        const more = count - (earlier.get(model) ?? 0);
        rates.set(model, { rate: more / span, latency: more > 0 ? ((sums.get(model) ?? 0) - (sumsEarlier.get(model) ?? 0)) / more : null });
      }
    }
    before = now;
    return rates;
  };
}

const system = (info) => tiles([
  ['Queue', info.queue_depth ?? 0, 'waiting'],
  ['Up', seconds(info.uptime)],
  ['Memory', bytes(info.memory?.resident_bytes)],
  ['Cores', info.cores ?? '–', info.device],
  ['Version', info.version ?? '–'],
]);

export function overview(signal) {
  const state = h('div.calm');
  const running = h('div.busy');
  const answering = h('div.busy');
  const start = h('div');
  let cards = new Map();
  let leave = new AbortController();
  const shownModels = new Map();
  const read = traffic();

  const drawJobs = (items) => {
    // Cards follow their own streams; they are made anew only when other jobs run.
    if (items.length && items.length === cards.size && items.every((job) => cards.has(job.id))) {
      for (const job of items) cards.get(job.id).update(job);
      return;
    }
    leave.abort();
    leave = new AbortController();
    const until = AbortSignal.any([signal, leave.signal]);
    cards = new Map(items.map((job) => [job.id, jobCard(job, until, () => setTimeout(() => refresh().catch(() => {}), 400))]));
    put(running, items.length ? [...cards.values()].map((one) => one.node)
      : empty('Nothing is training', 'Upload a dataset, then start a training from its page.', go('Go to datasets', 'datasets')));
  };

  const drawModels = (page) => {
    shownModels.clear();
    put(answering, page.items.length ? [table('Models', ['Model', 'Family', '#Quality', '#Requests/s', '#Latency', '#Active'], page.items.slice(0, SHOWN).map((m) => {
      const rate = h('span', '–');
      const latency = h('span', '–');
      shownModels.set(m.name, { rate, latency });
      return [named(m), words(m.family ?? '–'), quality(m.metrics), rate, latency, percent(m.sparsity?.active_share)];
    })), h('p.pager', link('All models', 'models'))]
      : empty('No model yet', 'A model appears here once its first training has begun.'));
  };

  async function refresh() {
    const [run, wait] = await Promise.all([get(`/jobs?status=running&limit=${SHOWN}`, signal), get(`/jobs?status=queued&limit=${SHOWN}`, signal)]);
    drawJobs([...run.items, ...wait.items].slice(0, SHOWN));
    return run.items.length + wait.items.length;
  }

  let lively = false;
  const tick = async () => {
    const [info, busy, rates] = await Promise.all([get('/system', signal), refresh(), read(signal).catch(() => new Map())]);
    lively = busy > 0;
    put(state, system(info));
    for (const [name, { rate, latency }] of shownModels) {
      const seen = rates.get(name);
      put(rate, seen ? num(seen.rate, 2) : '–');
      put(latency, seen?.latency != null ? seconds(seen.latency) : '–');
    }
  };

  (async () => {
    try {
      const [page, sets] = await Promise.all([get(`/models?limit=${SHOWN}`, signal), get('/datasets?limit=1', signal)]);
      drawModels(page);
      if (!sets.items.length) put(start, welcome(signal));
      await tick();
    } catch (error) {
      if (error.name !== 'AbortError') put(state, trouble(error));
    }
    clock(tick, () => (lively ? 5000 : 15_000), signal);
  })();

  return [heading('Overview'), h('div.stack', start, state, card('Training', running), card('Models', answering))];
}

/** For someone who has just started the server. */
const welcome = (signal) => card('From nothing to a prediction',
  h('div.grid2',
    dropZone(signal),
    h('div.stack.tight', h('p.mute.small', 'Or on the command line:'), h('pre', { tabindex: '0' },
      `curl -T iris.csv ${location.host}/api/v1/datasets/iris\ncurl ${location.host}/api/v1/models/iris/train \\\n  --json '{"dataset":"iris","target":"species"}'`))));
