// Parts that several pages share: notes, dialogs, pages of lists, a job's moving card.

import { h, put, words, percent, seconds, short, num, width, link, ago, table, field } from './dom.js';
import { get, post, Problem } from './api.js';
import { watch, calm, ended } from './live.js';
import { spark } from './charts.js';

/** Draws the page anew. */
export const reload = () => dispatchEvent(new HashChangeEvent('hashchange'));

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
    details.length ? table('What is wrong and where', ['Row', 'Column', 'Why'], details.map((d) => [d.row ?? '–', d.column ?? d.path, d.reason])) : null);
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

/** A model's or a job's metrics as tiles, shares as percent. */
export const figures = (metrics, before = []) => tiles([...before, ...Object.entries(metrics ?? {}).filter(([name, v]) => typeof v === 'number' && !(name.replace('validation_', '') in metrics && name.startsWith('validation')))
  .map(([name, v]) => [words(name), /accuracy|f1|auc/.test(name) ? percent(v) : num(v)])].slice(0, 12));

const CHIP = { succeeded: 'good', served: 'good', running: 'good live', failed: 'fail', canceled: 'warn', canary: 'warn', shadow: 'warn' };
export const chip = (state) => h('span', { class: `chip ${CHIP[state] ?? ''}` }, words(state));

/** The one figure that stands for a model's quality. */
export function quality(metrics) {
  for (const name of ['accuracy', 'validation_accuracy', 'rmse', 'validation_rmse', 'r2']) {
    const value = metrics?.[name];
    if (typeof value === 'number') return name.endsWith('accuracy') ? percent(value) : `${name === 'r2' ? 'R²' : 'RMSE'} ${num(value)}`;
  }
  return '–';
}

/** A model's name and version as a link. */
export const named = (m) => [link(m.name, 'models', m.name), m.version ? h('span.mute', ` v${m.version}`) : null];

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

/** Adds a point of a job's curves to `curves`: `name → [[epoch, value]]`. A point that comes again replaces the first. */
function addPoint(curves, { epoch, step, ...values }) {
  for (const [name, y] of Object.entries(values)) {
    if (!Number.isFinite(y)) continue;
    if (!curves.has(name)) curves.set(name, []);
    const points = curves.get(name);
    while (points.length && points.at(-1)[0] >= epoch) points.pop();
    points.push([epoch, y]);
  }
}

/** The curves of a job so far. */
export async function curvesOf(id, signal) {
  const curves = new Map();
  const answer = await get(`/jobs/${id}/metrics`, signal);
  for (const point of answer.points ?? answer.items ?? answer) addPoint(curves, point);
  return curves;
}

export const lossSeries = (curves) => ['train_loss', 'validation_loss'].filter((name) => curves.has(name))
  .map((name, i) => ({ name: words(name), points: curves.get(name), color: i + 1 }));

/** A job and its curves that follow its event stream; `changed` is called calmly, `line` for each log line. */
export function follow(job, changed, signal, line) {
  const state = { job, curves: new Map() };
  const draw = calm(() => changed(state), signal);
  watch(job.id, (type, data) => {
    if (type === 'status' || type === 'job') state.job = { ...state.job, ...data };
    else if (type === 'progress') state.job = { ...state.job, progress: data };
    else if (type === 'metric') {
      addPoint(state.curves, data);
      const { epoch, step, ...metrics } = data;
      state.job = { ...state.job, metrics: { ...state.job.metrics, ...metrics } };
    } else if (type === 'log') line?.(data.line);
    draw();
  }, signal);
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

/** A running or waiting job with a bar, its pace and its loss: `{node, update(job)}`. */
export function jobCard(job, signal, onEnd) {
  const bar = meter(`Progress of ${job.model}`);
  const text = h('span.mute.small');
  const status = h('span');
  const picture = h('div.spark');
  const draw = ({ job: now, curves }) => {
    put(status, chip(now.status));
    put(text, pace(now));
    bar.set(ended(now) ? 1 : now.progress?.fraction);
    const loss = curves.get('train_loss') ?? [];
    if (loss.length > 1) put(picture, spark(loss, `Training loss, now ${num(loss.at(-1)[1])}`));
    if (ended(now)) onEnd?.(now);
  };
  const state = follow(job, draw, signal);
  draw(state);
  const node = h('div.jobcard', h('div.stack.tight', h('div.row.between',
    h('span.row', h('strong', link(job.model, 'jobs', job.id)), h('span.mute', `${words(job.kind)}${job.version ? ` · version ${job.version}` : ''}`), status), text), bar.node), picture);
  return { node, update: (now) => { state.job = { ...now, metrics: state.job.metrics }; draw(state); } };
}

/** A job list. */
export const jobTable = (jobs) => table('Jobs', ['Model', 'Kind', 'Status', '#Progress', '#Quality', 'Created'], jobs.map((job) => [
  [link(job.model, 'jobs', job.id), job.version ? h('span.mute', ` v${job.version}`) : null], words(job.kind), chip(job.status),
  percent(job.status === 'succeeded' ? 1 : job.progress?.fraction ?? 0, 0), quality(job.metrics), ago(job.created_at)]));
