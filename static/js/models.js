// The list of models, and one model's page: try it, quality, versions, activity, stream, memory.

import { h, put, num, percent, bytes, short, words, to, link, go, ago, select, field, table, cell } from './dom.js';
import { get, list, post, call } from './api.js';
import { heading, card, tiles, empty, paged, into, act, attempt, toast, sure, remover, chip, quality, keep, curvesOf, series, meter, named, figures, reload, filters, query, setQuery } from './parts.js';
import { lines, bars, confusion, calibration, raster } from './charts.js';
import { features, rowForm, valueOf } from './forms.js';
import { answer, units } from './answer.js';

export const models = (signal) => [heading('Models'), card(null, paged('/models',
	['Models', ['Model', 'Family', 'Task', '#Quality', '#Size', 'Updated'], (m) => [named(m.name, m.version, 'models', m.name), words(m.family), m.task, quality(m.metrics), bytes(m.bytes), ago(m.updated_at)]],
	empty('No model yet', 'A model is created by its first training. Open a dataset and press “Train”.', go('Go to datasets', 'datasets')), signal).node)];

const TABS = { try: ['Try it', tryIt], quality: ['Quality', qualityTab], versions: ['Versions', versionsTab], activity: ['Activity', activityTab], stream: ['Stream', streamTab], memory: ['Memory', memoryTab] };

// `#/models/{name}/{tab}`.
export async function model(signal, name, tab) {
	const path = `/models/${name}`;
	const it = await get(path, signal);
	const here = tab in TABS ? tab : 'try';
	const body = h('div');
	into(body, () => TABS[here][1]({ it, path, name, signal }));
	return [
		heading(name, [link('Models', 'models'), ` / ${words(it.family ?? '')}`],
			it.version ? h('span.chip.good', `version ${it.version} serves`) : chip('no version yet'),
			h('span.mute.small', `predicts ${it.target}`, ` · ${quality(it.metrics)}`.replace(' · –', ''))),
		h('nav.tabs', { label: 'Parts of the model' }, Object.entries(TABS).map(([key, [text]]) => h('a', { href: to('models', name, key), 'aria-current': key === here && 'page' }, text))),
		body,
	];
}

// The dataset it learned from, if it still exists.
async function source(it, signal) {
	const name = it.versions.find((v) => v.version === it.version)?.dataset?.name;
	return name ? get(`/datasets/${name}`, signal).catch(() => null) : null;
}

async function someRows(set, columns, offset, limit, signal) {
	const { rows } = await list(`/datasets/${set.name}/rows`, { offset, limit }, signal);
	return rows.map((row) => [row, Object.fromEntries(columns.map((column) => [column.name, valueOf(row, column)]))]);
}

async function tryIt({ it, path, name, signal }) {
	if (!it.version) return empty('No version yet', 'The first version appears when its training ends.', go('See the jobs', 'jobs'));
	const set = await source(it, signal);
	const columns = features(it, set);
	const out = h('div.busy', { 'aria-live': 'polite' }, empty('No prediction yet', 'Fill in a row, or take one from the dataset.'));
	const predict = (truth) => into(out, async () => {
		const row = form.row();
		const made = await post(`${path}/predict`, { rows: [row], top_k: 10, coverage: Number(cover.value), explain: true }, signal);
		return [truth, answer(made, it, columns, row, path)];
	});
	const form = rowForm(columns, () => columns.length === 1 && predict());
	const cover = select([0.8, 0.9, 0.95, 0.99].map((share) => [share, percent(share, 0)]), 0.9, { name: 'coverage', id: 'cover' });
	const node = h('form.stack', { onsubmit: (event) => { event.preventDefault(); predict(); } }, form.node,
		h('div.row', h('button.main', 'Predict'),
			set ? act('Take a row from the dataset', async () => {
				const [[row, seen]] = await someRows(set, columns, Math.floor(Math.random() * set.rows), 1, signal);
				form.set(seen);
				await predict(h('p.small.mute', 'Value in the dataset: ', h('strong', cell(row[it.target]))));
			}) : null,
			h('span.row.small', h('label', { for: 'cover' }, 'coverage of the set'), cover)));
	const restored = keep(node, name);
	form.restore();
	if (restored) predict();
	return h('div.grid2', card('Row', node), card('Prediction', out));
}

const evaluated = (e) => h('div.grid2',
	e.calibration?.length ? card('Calibration', calibration(e.calibration)) : null,
	e.coverage?.length ? card('Coverage of the sets', table('Coverage', ['#Requested', '#Observed', '#Size'], e.coverage.map((c) => [percent(c.asked, 0), percent(c.reached), num(c.size)]))) : null,
	e.confusion?.length ? card('Confusion', confusion(e.classes, e.confusion)) : null);

async function qualityTab({ it, path, signal }) {
	const { items } = await get(`${path}/versions`, signal);
	if (!items.length) return empty('No metrics yet', 'Metrics appear when the first training ends.');
	const body = h('div.stack');
	const pick = select(items.map((v) => [v.version, `version ${v.version}${v.version === it.version ? ' (served)' : ''}`]), it.version ?? items[0].version, { label: 'Version' });
	const draw = () => into(body, async () => {
		const version = items.find((v) => v.version === Number(pick.value)) ?? items[0];
		pick.value = version.version;
		const curves = version.job_id ? await curvesOf(version.job_id, signal).catch(() => ({})) : {};
		const why = version.version === it.version ? [it.family_reason, ...(it.notes ?? [])].filter(Boolean) : [];
		return [figures(version.metrics), h('div.grid2', Object.keys(curves).length ? card('Learning', lines('Loss', series(curves))) : null,
			why.length ? card('Notes', h('ul.list', why.map((line) => h('li', line)))) : null), evaluated(version.held_out ?? {})];
	});
	if (query().version) pick.value = query().version;
	pick.onchange = () => { setQuery({ version: pick.value }); draw(); };
	draw();
	return h('div.stack', h('div.row', pick), body);
}

async function versionsTab({ it, path, name, signal }) {
	const { items } = await get(`${path}/versions`, signal);
	if (!items.length) return empty('No version yet', 'Each finished training creates one.', go('Train from a dataset', 'datasets'));
	const change = (way, to, body, text) => async () => {
		await call(way, `${path}/${to}`, body());
		toast(text);
		reload();
	};
	const options = items.map((v) => [v.version, `version ${v.version}`]);
	const now = it.traffic ?? {};
	const stable = select(options, now.stable ?? it.version);
	const canary = select([['', 'none'], ...options], now.canary?.version);
	const weight = h('input', { type: 'range', min: 0, max: 100, step: 1, value: Math.round((now.canary?.weight ?? 0.1) * 100) });
	const shadow = select([['', 'none'], ...options], now.shadow);
	const share = h('span.hint');
	const showShare = () => put(share, canary.value ? `${weight.value} % of the requests go to version ${canary.value}` : 'no canary');
	weight.oninput = canary.onchange = showShare;
	showShare();
	const traffic = () => ({ stable: Number(stable.value), canary: canary.value ? { version: Number(canary.value), weight: weight.value / 100 } : undefined, shadow: shadow.value ? Number(shadow.value) : undefined });
	return h('div.stack',
		card(null, h('div.row.between', h('h2', 'Versions'), act('Roll back', change('POST', 'rollback', () => ({}), 'The previous version is served now.'))),
			table('Versions', ['Version', 'State', 'Family', '#Quality', '#Size', 'Made', 'Serve'], items.toSorted((a, b) => b.version - a.version).map((v) => [
				v.job_id ? link(`v${v.version}`, 'jobs', v.job_id) : `v${v.version}`, chip(v.state), words(v.family), quality(v.metrics), bytes(v.bytes), ago(v.created_at),
				v.state === 'served' ? '' : act('Promote', change('POST', `versions/${v.version}/promote`, () => ({}), `Version ${v.version} is served now.`), 'button.slim', { label: `Promote version ${v.version}` })]))),
		card('Traffic', h('div.stack',
			h('div.fields', field('Stable', stable), field('Canary', canary), h('div', field('Canary share', weight), share), field('Shadow', shadow, 'predictions are compared, not returned')),
			h('div.row', act('Set traffic', change('PUT', 'traffic', traffic, 'Traffic updated.'), 'button.main')))),
		remover('Delete this model', `Delete ${name}?`, 'All its versions and its memory are deleted.', path, '#/models'));
}

async function activityTab({ it, path, signal }) {
	const a = await get(`${path}/activity`, signal);
	if (!a.rows) return empty('No activity counted yet', 'Send a prediction first: activity is counted while the network runs.', go('Try it', 'models', it.name, 'try'));
	const set = await source(it, signal);
	const { macs, energy_joules: energy } = a;
	const joules = energy.measured ?? energy.estimated;
	const micro = (value) => `${num(value * 1e6, 2)} µJ`;
	const fires = h('div');
	return h('div.stack',
		tiles([['Multiply-adds a prediction', short(macs.effective), `of ${short(macs.dense)} dense`], ['Saved', macs.effective > 0 ? `${num(macs.dense / macs.effective, 2)}×` : '–'],
			['Energy a prediction', micro(joules), `${energy.measured == null ? 'estimated; ' : ''}dense ${micro((joules * macs.dense) / (macs.effective + macs.memory))}`], ['Size', bytes(a.bytes)], ['Rows counted', num(a.rows)]]),
		a.layers.length ? card('Layers', table('Layers', ['Layer', '#Units', '#Active', 'Share', '#Dead', '#Duty cycle: least, median, most'], a.layers.map((layer) => {
			const duty = layer.duty_cycle ?? {};
			return [layer.name, num(layer.units), num(layer.winners), [meter(`Active share of ${layer.name}`).set(layer.active_share), h('span.small.mute', percent(layer.active_share))], num(layer.dead_units), [duty.min, duty.median, duty.max].map((v) => percent(v)).join(' · ')];
		}))) : null,
		card('Operations a prediction', bars([['dense network', macs.dense], ['effective', macs.effective], ['finding winners', macs.top_k], ['memory search', macs.memory]].filter(([, value]) => value), short), energy.method ? h('p.small.mute', `Energy: ${energy.method}`) : null),
		set ? card('Active units by class', h('div.stack.tight', h('p.small.mute', 'A line for each row of the data, grouped by prediction; a dot is one of its most active units.'),
			act('Show 40 rows', () => into(fires, async () => {
				const rows = await someRows(set, features(it), 0, 40, signal);
				const made = await post(`${path}/predict`, { rows: rows.map(([, row]) => row), explain: true }, signal);
				const groups = Object.entries(Object.groupBy(made.predictions, (p) => p.label ?? num(p.value))).sort(([x], [y]) => x.localeCompare(y, 'en', { numeric: true }));
				const most = Math.max(...made.predictions.flatMap(units).map(([unit]) => unit)) + 1;
				if (!(most > 0)) return h('p.mute', 'This family does not report active units.');
				return h('ul.bars.wide', groups.map(([label, some]) => h('li', h('span.name', label), raster(some.map(units), most, `Active units of ${some.length} rows predicted as ${label}`))));
			})), fires)) : null);
}

async function streamTab({ it, path, name, signal }) {
	const s = await get(`${path}/stream`, signal);
	const { prequential: p, history, consolidations } = s;
	if (!s.observed) {
		return empty('No observations yet', 'Send labelled rows to the endpoint below; the model learns from each at once.', h('pre', { tabindex: '0' }, `curl ${location.host}/api/v1/models/${name}/observe \\\n  --json '{"rows":[{ … , "${it.target}": … }]}'`));
	}
	const figure = p.accuracy == null ? 'mae' : 'accuracy';
	const show = figure === 'mae' ? num : (v) => percent(v);
	return h('div.stack',
		tiles([['Observed', num(s.observed), 'rows'], [`${figure}, all rows`, show(p[figure])], ['recent rows', show(p.window)],
			p.kappa_last == null ? ['Last value', num(p.window_last_value)] : ['Kappa against the last label', num(p.kappa_last)],
			['Drift', s.drift.detected ? 'now' : s.drift.count ? `${s.drift.count} times` : 'none'], ['Memory', num(s.memory.entries), `of ${num(s.memory.capacity)}`]]),
		card('Prequential evaluation: each row is predicted before it is learned', lines(figure, [{ name: `${figure}, recent`, points: history.map((one) => [one.row, one[figure]]), color: 1 }],
			{ format: show, xLabel: 'rows', height: 240, marks: s.drift.rows })),
		Object.keys(s.classes ?? {}).length ? card('Recall by class', bars(Object.entries(s.classes).map(([label, c]) => [label, c.recall]), percent, 20, 1)) : null,
		card(null, h('div.row.between', h('h2', 'Consolidations'), act('Consolidate now', async () => {
			location.hash = to('jobs', (await post(`${path}/consolidate`, {})).id);
		})), consolidations.length ? table('Consolidations', ['After rows', '#Before', '#After', 'Result'], consolidations.map((c) => [num(c.rows), show(c.before), show(c.after), c.accepted ? 'accepted' : 'rejected']))
			: h('p.mute.small', 'None yet. A consolidation replays recent rows into a copy of the model and keeps it if it predicts them no worse.')));
}

function memoryTab({ it, path, signal }) {
	const columns = features(it);
	const label = h('input', { type: 'search', placeholder: 'label', label: 'Only this label', spellcheck: 'false' });
	const column = select([it.target, ...columns.map((f) => f.name)], it.target, { label: 'Column' });
	const value = h('input', { label: 'Value', placeholder: 'value', required: true });
	filters({ label }, () => pages.restart());
	const pages = paged(`${path}/memory`, ['Memories', ['Label', 'Row', '#Used', 'Actions'], (m) => [cell(m.label ?? m.value), h('div.cell', Object.entries(m.row ?? {}).map(([k, v]) => `${k} ${cell(v, 24)}`).join(', ')), num(m.uses),
		act('Forget', async () => {
			await call('DELETE', `${path}/memory/${encodeURIComponent(m.id)}`);
			toast('Entry deleted.');
			pages.refresh();
		}, 'button.slim.danger', { label: `Forget memory ${m.id}` })]],
	empty('The memory is empty', 'The memory and hybrid families store single rows, from training and from observations.'),
	signal, () => ({ limit: 25, label: label.value.trim() }));
	const forget = async () => {
		if (!(await sure('Forget these entries?', `Every memory entry whose ${column.value} is “${value.value}” is deleted.`, 'Forget'))) return;
		const number = columns.find((f) => f.name === column.value)?.kind === 'number';
		const made = await post(`${path}/forget`, { where: { [column.value]: number ? Number(value.value) : value.value } });
		toast(`${num(made?.forgotten)} entries deleted.`);
		pages.restart();
	};
	return h('div.stack',
		card(null, h('div.row.between', h('h2', 'Memory entries'), label), pages.node),
		card('Forget matching entries', h('form.row', { onsubmit: (event) => { event.preventDefault(); attempt(forget); } },
			column, h('span.mute', 'is'), value, h('button.danger', 'Forget'))));
}
