// Parts that several pages share: notes, dialogs, pages of lists, a job's moving card.

import { h, put, words, percent, seconds, short, num, width, to, ago, table, field } from './dom.js';
import { get, post, Problem } from './api.js';
import { watch, calm, ended } from './live.js';
import { spark } from './charts.js';

/** A short message that goes away by itself; read out by screen readers. */
export function toast(text, bad) {
  const node = h('div', { class: bad ? 'toast fail' : 'toast' }, text);
  document.getElementById('toasts').append(node);
  setTimeout(() => node.remove(), bad ? 9000 : 4500);
}

/** What the server said is wrong, with rows and columns where it told them. */
export function trouble(error) {
  if (!(error instanceof Problem)) console.error(error);
  const help = { 0: 'Start it with “kenyon serve”, then reload.', 401: 'This server asks for an API key: the key button is at the top right.', 403: 'The key in use may not do this.', 429: 'The server is busy; try again in a moment.', 503: 'The server is starting or going down; try again in a moment.' }[error.status];
  const details = error.details ?? [];
  return h('div.note.fail', { role: 'alert' },
    h('p', error.message, help ? ` ${help}` : ''),
    details.length ? table('What is wrong and where', [['Row', 'num'], ['Column'], ['Why']],
      details.map((d) => h('tr', h('td.num', d.row ?? '–'), h('td', d.column ?? d.path ?? '–'), h('td', d.reason)))) : null);
}

/** Fills `box` with what `load` answers, or with what went wrong. */
export async function into(box, load) {
  try {
    const made = await load();
    if (made !== undefined) put(box, made);
  } catch (error) {
    if (error.name !== 'AbortError') put(box, trouble(error));
  }
}

/** Runs a button's work once at a time and shows what went wrong as a message. */
export function act(label, work, props = {}) {
  const button = h('button', { type: 'button', ...props, onclick: async () => {
    button.disabled = true;
    try { await work(button); } catch (error) {
      if (error.name !== 'AbortError') toast(error.message, true);
    }
    button.disabled = false;
  } }, label);
  return button;
}

function ask(title, content, confirm, danger) {
  return new Promise((resolve) => {
    const id = `d${Date.now()}`;
    const form = h('form', { method: 'dialog', class: 'stack' },
      h('h2', { id }, title), content,
      h('div.row',
        h('button', { value: 'yes', class: danger ? 'danger' : 'main' }, confirm),
        h('button', { value: '', type: 'button', onclick: () => dialog.close('') }, 'Cancel')));
    const dialog = h('dialog', { 'aria-labelledby': id, onclose: () => { dialog.remove(); resolve(dialog.returnValue === 'yes'); } }, form);
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Asks before something that cannot be undone. */
export const sure = (title, text, confirm) => ask(title, h('p', text), confirm, true);

/** Asks for an API key; `refused` when one was given and not accepted. */
export async function askKey(refused) {
  const input = h('input', { type: 'password', autocomplete: 'off', spellcheck: 'false', name: 'key', required: true });
  const yes = await ask('API key', h('div.stack.tight',
    h('p', { class: refused ? 'bad' : 'mute' }, refused ? 'That key was not accepted.' : 'This server wants a key. It stays in this tab and is forgotten when the tab closes.'),
    field('Key', input)), 'Use this key');
  return yes ? input.value.trim() : null;
}

/** What to show where there is nothing yet: what it is, and what to do next. */
export const empty = (title, text, ...actions) => h('div.empty', h('strong', title), h('p', text), ...actions);

export const heading = (title, crumbs, ...tools) => h('div.head',
  h('div', crumbs ? h('p.crumb', crumbs) : null, h('h1', { tabindex: '-1' }, title)), h('div.row', tools));

export const card = (title, ...content) => h('section.card', title ? h('h2', title) : null, content);

/** Named figures side by side. */
export const tiles = (items) => h('dl.tiles', items.map(([name, value, unit]) =>
  h('div.tile', h('dt', name), h('dd', value, unit ? h('small', unit) : null))));

const CHIP = { succeeded: 'good', served: 'good', ready: '', running: 'good live', queued: '', failed: 'fail', canceled: 'warn', canary: 'warn', shadow: 'warn', retired: '' };
export const chip = (state) => h('span', { class: `chip ${CHIP[state] ?? ''}` }, words(state ?? 'unknown'));

/** The one figure that stands for a model's quality. */
export function quality(metrics) {
  if (!metrics) return '–';
  for (const [name, text] of [['accuracy', null], ['validation_accuracy', null], ['r2', 'R²'], ['rmse', 'RMSE'], ['validation_rmse', 'RMSE'], ['mae', 'MAE']]) {
    if (typeof metrics[name] === 'number') return text ? `${text} ${num(metrics[name])}` : percent(metrics[name]);
  }
  return '–';
}

/**
 * A list in pages: `load(cursor)` answers `{items, next_cursor}`, `draw(items)` the rows.
 * Answers the box and a `refresh` for the page that is shown.
 */
export function paged(load, draw, signal) {
  const box = h('div.busy');
  const info = h('span');
  const trail = [null];
  let following = null;
  const back = h('button', { type: 'button', class: 'slim', onclick: () => { trail.pop(); refresh(); } }, 'Previous');
  const forth = h('button', { type: 'button', class: 'slim', onclick: () => { trail.push(following); refresh(); } }, 'Next');
  const pager = h('nav.pager.hide', { 'aria-label': 'Pages' }, info, back, forth);
  const show = async () => {
    const page = await load(trail.at(-1));
    if (signal.aborted) return;
    following = page.next_cursor;
    pager.classList.toggle('hide', trail.length === 1 && !following);
    back.disabled = trail.length === 1;
    forth.disabled = !following;
    put(info, `Page ${trail.length}`);
    put(box, draw(page.items, trail.length === 1));
  };
  const refresh = () => into(box, show);
  refresh();
  return { node: h('div', box, pager), refresh, quiet: show, restart: () => { trail.length = 1; refresh(); } };
}

/** Keeps what was typed into the named fields of `form` for this tab, so that a reload loses nothing. */
export function keep(form, name) {
  const key = `kenyon-form:${name}`;
  let kept = {};
  try { kept = JSON.parse(sessionStorage.getItem(key)) ?? {}; } catch { /* Then there is nothing to bring back. */ }
  for (const node of form.querySelectorAll('[name]')) {
    if (node.type === 'file' || !(node.name in kept)) continue;
    if (node.type === 'checkbox') node.checked = kept[node.name];
    else if (node.tagName !== 'SELECT' || [...node.options].some((option) => option.value === kept[node.name])) node.value = kept[node.name];
  }
  const save = () => {
    const values = {};
    for (const node of form.querySelectorAll('[name]')) if (node.type !== 'file') values[node.name] = node.type === 'checkbox' ? node.checked : node.value;
    try { sessionStorage.setItem(key, JSON.stringify(values)); } catch { /* Too large to keep: then it is not kept. */ }
  };
  form.addEventListener('input', save);
  form.addEventListener('change', save);
}

export function meter(label) {
  const bar = h('i');
  const node = h('div.meter', { role: 'progressbar', 'aria-label': label, 'aria-valuemin': 0, 'aria-valuemax': 100 }, bar);
  return { node, set: (share) => { width(bar, share); node.setAttribute('aria-valuenow', Math.round((share || 0) * 100)); } };
}

const CURVE = [/^train_loss$/, /^validation_loss$/];

/** Turns what `/jobs/{id}/metrics` answers into `name → [[x, y]]`. */
export function curves(answer) {
  const made = new Map();
  const push = (name, x, y) => {
    if (typeof y !== 'number' || !Number.isFinite(y)) return;
    if (!made.has(name)) made.set(name, []);
    made.get(name).push([x, y]);
  };
  const points = answer?.points ?? answer?.items ?? (Array.isArray(answer) ? answer : null);
  if (points) for (const point of points) curvePoint(point, push);
  const named = answer?.series ?? answer?.curves ?? answer?.metrics;
  if (named && !points) {
    for (const [name, list] of Object.entries(named)) {
      if (Array.isArray(list)) list.forEach((p, i) => (typeof p === 'number' ? push(name, i + 1, p) : Array.isArray(p) ? push(name, p[0], p[1]) : push(name, p.epoch ?? p.step ?? i + 1, p.value)));
    }
  }
  return made;
}

/** One point of the curves, in whatever of the two shapes it comes: one figure, or several at once. */
export function curvePoint(point, push) {
  if (point == null || typeof point !== 'object') return;
  const x = point.epoch ?? point.step ?? 0;
  if (typeof point.name === 'string') push(point.name, x, point.value);
  else for (const [name, y] of Object.entries(point.metrics ?? point)) if (!['epoch', 'step', 'at', 'time'].includes(name)) push(name, x, y);
}

export const lossSeries = (made) => [...made].filter(([name]) => CURVE.some((test) => test.test(name)))
  .map(([name, points]) => ({ name: words(name), points, color: name.startsWith('train') ? 1 : 2 }));

/** A job's state that follows its event stream; `changed` is called calmly, `line` for each log line. */
export function follow(job, changed, signal, line) {
  const state = { job, curves: new Map() };
  const draw = calm(() => changed(state), signal);
  const push = (name, x, y) => {
    if (typeof y !== 'number' || !Number.isFinite(y)) return;
    if (!state.curves.has(name)) state.curves.set(name, []);
    const points = state.curves.get(name);
    if (points.length && points.at(-1)[0] >= x) {
      const at = points.findIndex((p) => p[0] >= x);
      if (points[at][0] === x) points[at][1] = y;
      else points.splice(at, 0, [x, y]);
    } else points.push([x, y]);
  };
  state.ready = get(`/jobs/${job.id}/metrics`, signal).then((answer) => {
    for (const [name, points] of curves(answer)) for (const [x, y] of points) push(name, x, y);
    changed(state);
  }).catch(() => {});
  if (!ended(job) || line) {
    watch(job.id, (type, data) => {
      if (type === 'job') state.job = data;
      else if (type === 'status') state.job = { ...state.job, ...(typeof data === 'string' ? { status: data } : data) };
      else if (type === 'progress') {
        state.job = { ...state.job, progress: { ...state.job.progress, ...(data.progress ?? data) }, metrics: { ...state.job.metrics, ...data.metrics } };
      } else if (type === 'metric') curvePoint(data, push);
      else if (type === 'log') line?.(typeof data === 'string' ? data : data.line ?? data.message ?? JSON.stringify(data));
      draw();
    }, signal);
  }
  return state;
}

/** Words on how far a job is. */
export function pace(job) {
  const p = job.progress ?? {};
  if (job.status === 'queued') return 'waiting for a free worker';
  if (ended(job)) return job.error ? (job.error.detail ?? job.error) : job.finished_at && job.started_at ? `took ${seconds((new Date(job.finished_at) - new Date(job.started_at)) / 1000)}` : '';
  return [p.epochs ? `epoch ${Math.min(p.epochs, (p.epoch ?? 0) + 1)} of ${p.epochs}` : null, p.rows_per_second ? `${short(p.rows_per_second)} rows/s` : null,
    p.eta_seconds != null && p.fraction > 0 ? `${seconds(p.eta_seconds)} left` : null].filter(Boolean).join(' · ') || 'starting';
}

export const cancel = (job, after) => act('Cancel', async () => {
  await post(`/jobs/${job.id}/cancel`, {});
  toast('The job stops within a second; what it has learned so far is dropped.');
  after?.();
}, { class: 'slim' });

/** A running or waiting job with a bar, its pace and its loss. */
export function jobCard(job, signal, onEnd) {
  const bar = meter(`Progress of ${job.model}`);
  const text = h('span.mute.small');
  const state = h('span');
  const picture = h('div.spark');
  const draw = ({ job: now, curves: made }) => {
    put(state, chip(now.status));
    put(text, pace(now));
    bar.set(ended(now) ? 1 : now.progress?.fraction);
    const loss = made.get('train_loss') ?? [];
    if (loss.length > 1) put(picture, spark(loss, `Training loss, now ${num(loss.at(-1)[1])}`));
    if (ended(now)) onEnd?.(now);
  };
  draw({ job, curves: new Map() });
  follow(job, draw, signal);
  return h('div.jobcard',
    h('div.stack.tight',
      h('div.row.between',
        h('span.row', h('a', { href: to('jobs', job.id) }, h('strong', job.model)), h('span.mute', `${words(job.kind)}${job.version ? ` · version ${job.version}` : ''}`), state),
        text), bar.node), picture);
}

/** Rows of a job list. */
export const jobRows = (jobs) => table('Jobs', [['Model'], ['Kind'], ['Status'], ['Progress', 'num'], ['Quality', 'num'], ['Created']], jobs.map((job) => h('tr',
  h('td', h('a', { href: to('jobs', job.id) }, job.model, job.version ? h('span.mute', ` v${job.version}`) : null)),
  h('td', words(job.kind)), h('td', chip(job.status)),
  h('td.num', job.status === 'succeeded' ? '100 %' : percent(job.progress?.fraction ?? 0, 0)),
  h('td.num', quality(job.metrics)), h('td', ago(job.created_at)))));

