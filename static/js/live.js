// What moves: one event stream per running job, shared by everything on the page that shows the job,
// open only while the tab is visible; and a gentle clock for lists.

import { events, get } from './api.js';

const ENDED = new Set(['succeeded', 'failed', 'canceled']);
/** A browser opens six connections to a server; these leave room for the page's own calls. */
const STREAMS = 3;
const watched = new Map();

export const ended = (job) => ENDED.has(job?.status);

class Watch {
  constructor(id) {
    this.id = id;
    this.listeners = new Set();
    this.lastId = null;
    this.failures = 0;
  }

  open() {
    if (this.stop || document.hidden || this.done || open() >= STREAMS) return;
    this.stop = new AbortController();
    this.run(this.stop.signal).catch(() => {}).finally(() => { this.stop = null; next(); });
  }

  close() {
    clearTimeout(this.timer);
    this.timer = null;
    this.stop?.abort();
    this.stop = null;
  }

  async run(signal) {
    try {
      await events(`/jobs/${this.id}/events`, this.lastId, (type, data, id) => {
        if (id) this.lastId = id;
        this.failures = 0;
        if (signal.aborted) return;
        for (const listener of this.listeners) listener(type, data);
      }, signal);
      // The stream ended with the job, or a proxy cut it: the job itself knows.
      const job = await get(`/jobs/${this.id}`, signal);
      this.done = ended(job);
      for (const listener of this.listeners) listener('job', job);
    } catch (error) {
      if (error.name === 'AbortError') return;
      if ([401, 403, 404].includes(error.status)) this.done = true;
    }
    if (!this.done && !signal.aborted && this.listeners.size) {
      this.failures += 1;
      this.timer = setTimeout(() => { this.timer = null; this.open(); }, Math.min(15_000, 500 * 2 ** this.failures));
    }
  }
}

const open = () => [...watched.values()].filter((watch) => watch.stop).length;
const next = () => { for (const watch of watched.values()) if (!watch.timer) watch.open(); };

/** Calls `listener(type, data)` with a job's events until `signal` aborts. */
export function watch(id, listener, signal) {
  let entry = watched.get(id);
  if (!entry) watched.set(id, entry = new Watch(id));
  entry.listeners.add(listener);
  entry.open();
  signal.addEventListener('abort', () => {
    entry.listeners.delete(listener);
    if (!entry.listeners.size) {
      entry.close();
      watched.delete(id);
      next();
    }
  });
}

document.addEventListener('visibilitychange', () => {
  for (const entry of watched.values()) {
    if (document.hidden) entry.close();
    else entry.open();
  }
});

/** Repeats `step` with at least `pause()` milliseconds between while the tab is visible. */
export function clock(step, pause, signal) {
  let timer = null;
  const run = async () => {
    timer = null;
    if (signal.aborted || document.hidden) return;
    try { await step(); } catch { /* The next turn tries again; the first load has told the reason. */ }
    plan();
  };
  const plan = () => {
    if (!signal.aborted && !document.hidden && !timer) timer = setTimeout(run, pause());
  };
  const seen = () => {
    if (document.hidden) { clearTimeout(timer); timer = null; } else if (!timer) run();
  };
  document.addEventListener('visibilitychange', seen);
  signal.addEventListener('abort', () => {
    clearTimeout(timer);
    document.removeEventListener('visibilitychange', seen);
  });
  plan();
}

/** Runs `draw` at most once per 200 ms, and always after the last call. */
export function calm(draw, signal) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      if (!signal.aborted) draw();
    }, 200);
  };
}
