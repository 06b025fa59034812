// Components shared by several pages: notes, dialogs, paged lists, a job's card.

import { h, put, words, percent, seconds, short, num, style, part, link, table, field, go, note, cell } from './dom.js';
import { get, list, post, call, Problem } from './api.js';
import { watch, calm, ended } from './live.js';
import { lines } from './charts.js';

export const reload = () => dispatchEvent(new HashChangeEvent('hashchange'));

// A short message that disappears; read out by screen readers.
export function toast(text, bad) {
	const node = h(bad ? 'div.toast.fail' : 'div.toast', text);
	document.getElementById('toasts').append(node);
	setTimeout(() => node.remove(), bad ? 9000 : 4500);
}

// The server's error, with rows and columns where given.
export function trouble(error) {
	if (!(error instanceof Problem)) console.error(error);
	const help = { 0: 'Start it with “kenyon serve”, then reload.', 401: 'This server requires an API key: use the key button at the top right.', 403: 'The key lacks the scope for this.', 429: 'Try again in a moment.', 503: 'Try again in a moment.' }[error.status];
	return h('div.note.fail', { role: 'alert' }, h('p', error.message, help && ` ${help}`),
		error.details?.length ? table('Errors', ['Place', 'Reason'], error.details.map((d) => [[d.row == null ? null : `row ${d.row}`, d.column ?? d.path].filter(Boolean).join(', ') || '–', d.reason])) : null);
}

// A page that could not be shown: why, and ways back.
export const failure = (title, error, ...ways) => [heading(title), h('div.stack', trouble(error), h('div.row', ways, h('button', { onclick: reload }, 'Try again'), go('Overview')))];

// Runs `work` and reports its error, unless the page was left meanwhile.
export async function attempt(work, report = (error) => toast(error.message, true)) {
	try { await work(); } catch (error) { if (error.name !== 'AbortError') report(error); }
}

// Fills `box` with the result of `load`, or with its error.
export const into = (box, load) => attempt(async () => put(box, await load()), (error) => put(box, trouble(error)));

// A button that is disabled while its work runs.
export function act(label, work, name = 'button', props = {}) {
	const button = h(name, { ...props, onclick: async () => {
		button.disabled = true;
		await attempt(work);
		button.disabled = false;
	} }, label);
	return button;
}

function confirmDialog(title, content, confirm, name) {
	return new Promise((resolve) => {
		const dialog = h('dialog', { label: title, onclose: () => { dialog.remove(); resolve(dialog.returnValue === 'yes'); } },
			h('form.stack', { method: 'dialog' }, h('h2', title), content,
				h('div.row', h(name, { value: 'yes' }, confirm), h('button', { onclick: () => dialog.close('') }, 'Cancel'))));
		document.body.append(dialog);
		dialog.showModal();
	});
}

export const sure = (title, content, confirm, name = 'button.danger') => confirmDialog(title, h('div', content), confirm, name);

export const remover = (label, title, text, path, back) => act(label, async () => {
	if (!(await sure(title, text, 'Delete'))) return;
	await call('DELETE', path);
	location.hash = back;
}, 'button.danger');

// Requests an API key; `refused` when one was given and not accepted.
export async function askKey(refused) {
	const input = h('input', { type: 'password', autocomplete: 'off', name: 'key', required: true });
	const yes = await confirmDialog('API key', h('div.stack.tight',
		refused ? h('p.bad', 'That key was not accepted.') : h('p.mute', 'This server requires a key. It is stored in this tab and removed when the tab closes.'),
		field('Key', input)), 'Use this key', 'button.main');
	return yes ? input.value.trim() : null;
}

// The placeholder of an empty list: what it is, and what to do next.
export const empty = (title, text, ...actions) => h('div.empty', h('strong', title), h('p', text), ...actions);

export const heading = (title, crumbs, ...tools) => h('div.head',
	h('div', crumbs && h('p.crumb', crumbs), h('h1', { tabindex: '-1' }, title)), h('div.row', tools));

export const card = (title, ...content) => h('section.card', title && h('h2', title), content);

export const tiles = (items) => h('dl.tiles', items.map(([name, value, unit]) =>
	h('div.tile', h('dt', name), h('dd', value, ' ', unit && h('small', unit)))));

// Whether a metric is a share, which is written in percent.
const isShare = (name) => /accuracy|f1|auc|precision|recall|coverage|calibration_error/.test(name);
export const metric = (name, v) => (isShare(name) ? percent(v) : num(v));

const range = (name, [low, high]) => `${metric(name, low).replace(' %', '')} to ${metric(name, high)}`;

// Metrics as tiles, with their intervals; a validation figure only where there is no better.
export const figures = (metrics, before = [], intervals) => tiles([...before, ...Object.entries(metrics ?? {})
	.filter(([name, v]) => typeof v === 'number' && !(name.startsWith('validation_') && name.slice(11) in metrics))
	.map(([name, v]) => [words(name), metric(name, v), intervals?.[name] && range(name, intervals[name])])].slice(0, 12));

const CHIP = { succeeded: 'good', served: 'good', ready: 'plain', running: 'good live', failed: 'fail', canceled: 'warn', canary: 'warn', shadow: 'warn' };
export const chip = (state) => h('span', { class: `chip ${CHIP[state] ?? ''}` }, words(state));

const mainMetric = (metrics) => ['accuracy', 'validation_accuracy', 'rmse', 'validation_rmse'].find((one) => metrics?.[one] != null);

// The figure that a list shows and is sorted by, the best first.
export const quality = (metrics) => {
	const name = mainMetric(metrics);
	return name ? `${isShare(name) ? '' : 'RMSE '}${metric(name, metrics[name])}` : '–';
};
export const score = (metrics) => {
	const name = mainMetric(metrics);
	return name && (isShare(name) ? 1 : -1) * metrics[name];
};

// The rows of a version's metrics.
export const measuredOn = ({ held_out, evaluated_on: on = held_out }) => on && `${num(on.rows)} ${on.kind?.replaceAll('_', '-') ?? 'held-out'} rows`;

// 95.3 % (94.1 to 96.4 %), 1,204 held-out rows.
export const measured = (version) => {
	const name = mainMetric(version.metrics);
	const interval = version.intervals?.[name];
	return [quality(version.metrics) + (interval ? ` (${range(name, interval)})` : ''), measuredOn(version)].filter(Boolean).join(', ');
};

export const named = (name, version, ...target) => [link(name, ...target), version && h('span.mute', ` version ${version}`)];

// The query of the address.
export const query = () => Object.fromEntries(new URLSearchParams(location.hash.split('?')[1]));
export function setQuery(changes, state = history.state) {
	const now = new URLSearchParams(Object.entries({ ...query(), ...changes }).filter(([, value]) => value));
	history.replaceState(state, '', `${location.hash.split('?')[0] || '#/'}${now.size ? `?${now}` : ''}`);
}

// Fields that filter a list are kept in the address.
export function filters(fields, changed) {
	for (const [name, node] of Object.entries(fields)) {
		node.value = query()[name] ?? '';
		node.addEventListener('change', () => { setQuery({ [name]: node.value.trim() }); changed(); });
	}
}

/**
 * A list of the interface in pages: each item rendered by `row`, or `none`. The current page is kept in the
 * address and the earlier ones in the history, so that a reload and a link find it again.
 */
export function paged(path, [caption, columns, row], none, signal, params = () => ({ limit: 50 })) {
	const box = h('div.busy');
	const info = h('span');
	let trail = history.state?.trail ?? [query().at].filter(Boolean);
	let following = null;
	const turn = (cursors) => { trail = cursors; setQuery({ at: cursors.at(-1) }, { trail }); return pages.refresh(); };
	const back = h('button.slim', { onclick: () => turn(trail.slice(0, -1)) }, 'Previous');
	const forth = h('button.slim', { onclick: () => turn([...trail, following]) }, 'Next');
	const pager = h('nav.pager.hide', { label: 'Pages' }, info, back, forth);
	const pages = {
		node: h('div', box, pager),
		restart: () => turn([]),
		refresh: () => attempt(pages.quiet, (error) => put(box, trouble(error))),
		async quiet() {
			const page = await list(path, { ...params(), cursor: trail.at(-1) }, signal);
			if (signal.aborted) return;
			pages.items = page.items;
			following = page.next_cursor;
			pager.classList.toggle('hide', !trail.length && !following);
			back.disabled = !trail.length;
			forth.disabled = !following;
			put(info, `Page ${trail.length + 1}`);
			put(box, page.items.length ? table(caption, columns, page.items.map(row)) : none);
		},
	};
	pages.refresh();
	return pages;
}

// A row in words, without its target.
export const rowText = (row, target) => h('div.cell.wide.mute', Object.entries(row ?? {}).filter(([name]) => name !== target).slice(0, 16).map(([name, v]) => `${name} ${cell(v, 24)}`).join(', '));

// Lists that are complete in one answer and take no parameters.
const COMPLETE = ['/encoders'];

// Every item of a list of the interface.
export async function everything(path, signal, cursor) {
	const { items, next_cursor: next } = await list(path, COMPLETE.includes(path) ? {} : { limit: 1000, cursor }, signal);
	return next ? [...items, ...await everything(path, signal, next)] : items;
}

export const versionOptions = (it) => it.versions.map((v) => [v.version, `version ${v.version}${v.version === it.version ? ' (serves)' : ''}`]);

// A choice of datasets.
export function datasetPick(signal, value = '', then = () => {}) {
	const node = h('select', { label: 'Dataset', required: true }, h('option', { value: '' }, 'choose a dataset'));
	attempt(async () => {
		for (const { name } of await everything('/datasets', signal)) node.append(h('option', { value: name }, name));
		node.value = value;
		then();
	});
	return node;
}

const PAGE = 50;

/**
 * A list with search, sorting and pages, all kept in the address. `columns`: `[{name, cell, by?, figure?}]`, where `by` is
 * what the column is sorted by; `text(item)` is what is searched; `choices`: `[[name, label, value(item)]]` are filters.
 */
export function listing(path, { caption, columns, text, choices = [], none }, signal) {
	const box = h('div.busy');
	const search = h('input', { type: 'search', placeholder: 'Search', label: `Search ${caption.toLowerCase()}`, value: query().q ?? '' });
	const selects = choices.map(([name, label]) => [name, h('select', { label })]);
	const tools = h('div.row.find', search, selects.map(([, node]) => node));
	let items = [];
	const change = (changes) => { setQuery({ page: '', ...changes }); draw(); };
	search.oninput = () => change({ q: search.value.trim() });
	for (const [name, node] of selects) node.onchange = () => change({ [name]: node.value });

	function draw() {
		const { q = '', sort = '', page = 1, ...wanted } = query();
		const down = sort.startsWith('-');
		const by = columns.find((one) => one.name.toLowerCase() === sort.replace('-', ''))?.by;
		const found = items.filter((item) => text(item).toLowerCase().includes(q.toLowerCase()) && choices.every(([name, , value]) => !wanted[name] || String(value(item)) === wanted[name]));
		if (by) {
			const compare = (x, y) => (x == null ? 1 : y == null ? -1 : (down ? -1 : 1) * (typeof x === 'number' ? x - y : String(x).localeCompare(String(y), 'en', { numeric: true })));
			found.sort((a, b) => compare(by(a), by(b)));
		}
		const pages = Math.max(1, Math.ceil(found.length / PAGE));
		const at = Math.min(Math.max(1, Number(page) || 1), pages);
		const turn = (label, to) => h('button.slim', { disabled: to < 1 || to > pages, onclick: () => { setQuery({ page: to > 1 ? to : '' }); draw(); } }, label);
		const head = ({ name, by: sorted }) => {
			const key = name.toLowerCase();
			const here = sort.replace('-', '') === key;
			const press = () => {
				change({ sort: here ? (down ? '' : `-${key}`) : key });
				box.querySelector(`[data-name="${name}"]`)?.focus();
			};
			return { order: here ? (down ? 'descending' : 'ascending') : null, node: sorted && h('button.sort', { onclick: press, 'data-name': name }, name, here ? (down ? ' ↓' : ' ↑') : '') };
		};
		tools.classList.toggle('hide', !items.length);
		put(box, !items.length ? none : !found.length ? empty('Nothing found', 'No entry matches the search and the filters.', act('Clear them', () => { setQuery({ q: '', page: '', ...Object.fromEntries(choices.map(([name]) => [name, ''])) }); reload(); })) : [
			table(caption, columns.map(({ name, figure }) => (figure ? `#${name}` : name)), found.slice((at - 1) * PAGE, at * PAGE).map((item) => columns.map(({ cell }) => cell(item))), true, columns.map(head)),
			pages > 1 ? h('nav.pager', { label: 'Pages' }, `${num(found.length)} found · Page ${at} of ${pages}`, turn('Previous', at - 1), turn('Next', at + 1)) : h('p.pager', `${num(found.length)} of ${num(items.length)}`)]);
	}
	attempt(async () => {
		items = await everything(path, signal);
		for (const [i, [name, node]] of selects.entries()) {
			const values = [...new Set(items.map(choices[i][2]).filter((v) => v != null))].sort();
			put(node, h('option', { value: '' }, `any ${name}`), values.map((v) => h('option', { value: v }, words(v))));
			node.value = query()[name] ?? '';
		}
		draw();
	}, (error) => put(box, trouble(error)));
	return [tools, box];
}

// Text to copy, with a button for it.
export function copyable(text, label) {
	const button = h('button.slim', { label: `Copy ${label}`, onclick: async () => {
		try {
			await navigator.clipboard.writeText(text);
			toast('Copied.');
		} catch {
			getSelection().selectAllChildren(code);
			toast('The text is selected; copy it with the keyboard.');
		}
	} }, 'Copy');
	const code = h('code', text);
	return h('div.copy', button, h('pre', { tabindex: '0', label }, code));
}

// Warnings of data or of a training; nothing without warnings.
export function warningList(warnings) {
	if (!warnings?.length) return null;
	return h('ul.warnings', warnings.map((w) => h('li', h('span.chip.warn', words(w.code)), h('div', h('p', w.column && [h('strong', w.column), ': '], w.detail),
		w.examples?.length ? note(w.rows ? `${num(w.rows)} in all, such as ` : 'Such as ', w.examples.map((e) => `row ${num(e.row)}${e.value == null ? '' : `: ${cell(e.value, 40)}`}`).join(', ')) : null))));
}

// Stores the values of the named fields for this tab; whether there were stored values.
export function keep(form, name) {
	const key = `kenyon-form:${name}`;
	const fields = () => [...form.querySelectorAll('[name]')];
	const property = (node) => (node.type === 'checkbox' ? 'checked' : 'value');
	const kept = JSON.parse(sessionStorage.getItem(key) ?? '{}');
	for (const node of fields()) {
		if (node.name in kept && (node.tagName !== 'SELECT' || [...node.options].some((one) => one.value === kept[node.name]))) node[property(node)] = kept[node.name];
	}
	form.oninput = form.onchange = () => {
		try { sessionStorage.setItem(key, JSON.stringify(Object.fromEntries(fields().map((node) => [node.name, node[property(node)]])))); } catch { /* Too large to store. */ }
	};
	return Object.keys(kept).length > 0;
}

export function meter(label) {
	const bar = h('i');
	const node = h('div.meter', { role: 'progressbar', label, 'aria-valuemin': 0, 'aria-valuemax': 100 }, bar);
	// Without a share to show, the bar moves.
	const set = (share, moving = false) => {
		style(bar, { width: part(moving ? 1 : share) });
		node.classList.toggle('moving', moving);
		node.ariaValueNow = moving ? null : Math.round((share || 0) * 100);
		return node;
	};
	return { node, set };
}

// Adds a point to `curves`, `name → [[epoch, value]]`, or replaces that of the same epoch.
function addPoint(curves, { epoch, step, at, ...values }) {
	for (const [name, y] of Object.entries(values)) {
		if (!Number.isFinite(y)) continue;
		const points = (curves[name] ??= []);
		while (points.length && points.at(-1)[0] >= epoch) points.pop();
		points.push([epoch, y]);
	}
}

export async function curvesOf(id, signal) {
	const curves = {};
	for (const point of (await get(`/jobs/${id}/metrics`, signal)).points) addPoint(curves, point);
	return curves;
}

export const series = (curves, names = /loss$/) => Object.keys(curves).filter((name) => names.test(name))
	.map((name, i) => ({ name: words(name), points: curves[name], color: (i % 4) + 1 }));

// A job and its curves that follow its event stream.
export function follow(job, changed, signal, line) {
	const state = { job, curves: {} };
	const draw = calm(() => changed(state), signal);
	watch(job.id, (type, data) => {
		if (type === 'progress') state.job.progress = data;
		else if (type === 'log') line?.(data.line);
		else if (type === 'metric') {
			addPoint(state.curves, data);
			const { epoch, step, at, ...metrics } = data;
			state.job.metrics = { ...state.job.metrics, ...metrics };
		} else state.job = { ...state.job, ...data };
		draw();
	}, signal);
	return state;
}

// What a job does now. When its passes are done it still solves, calibrates and measures.
export function pace(job) {
	const p = job.progress ?? {};
	if (job.status === 'queued') return 'waiting for a free worker';
	if (ended(job)) return job.error?.detail ?? (job.started_at ? `took ${seconds((new Date(job.finished_at) - new Date(job.started_at)) / 1000)}` : '');
	const since = job.started_at ? `${seconds(Math.max(0, Math.round((Date.now() - new Date(job.started_at)) / 1000)))} so far` : '';
	if (finishing(job)) return ['calibrating and measuring', since].filter(Boolean).join(' · ');
	return [p.epochs > 1 && `epoch ${Math.min(p.epochs, (p.epoch ?? 0) + 1)} of ${p.epochs}`, p.rows_per_second && `${short(p.rows_per_second)} rows/s`,
		p.eta_seconds >= 1 && p.fraction > 0 ? `at most ${seconds(p.eta_seconds)} left` : since].filter(Boolean).join(' · ') || 'starting';
}

// Whether a running job has no steps left to count.
export const finishing = (job) => job.status === 'running' && job.progress?.fraction >= 0.999;

export const cancel = (job) => act('Cancel', async () => {
	await post(`/jobs/${job.id}/cancel`, {});
	toast('The job stops within a second; its progress is dropped.');
}, 'button.slim');

// A running or waiting job with a bar, its pace and its loss.
export function jobCard(job, signal, onEnd) {
	const bar = meter(`Progress of ${job.model ?? job.kind}`);
	const text = h('span.mute.small');
	const status = h('span');
	const picture = h('div');
	const draw = ({ job: now, curves }) => {
		put(status, chip(now.status));
		put(text, pace(now));
		bar.set(ended(now) ? 1 : now.progress?.fraction, finishing(now));
		const loss = curves.train_loss ?? [];
		if (loss.length > 1) put(picture, lines('Training', [{ name: 'loss', points: loss, color: 1 }], { height: 40, bare: true }));
		if (ended(now)) onEnd();
	};
	const state = follow(job, draw, signal);
	draw(state);
	const node = h('div.jobcard', h('div.stack.tight', h('div.row.between',
		h('span.row', h('strong', link(job.model ?? 'comparison', 'jobs', job.id)), h('span.mute', `${words(job.kind)}${job.version ? ` · version ${job.version}` : ''}`), status), text), bar.node), picture);
	return { node, update: (now) => { state.job = { ...now, metrics: state.job.metrics }; draw(state); } };
}
