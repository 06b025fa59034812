// A model that learns from a stream: figures over time, drift by column, memory, consolidations; live.

import { h, put, num, percent, to, table, ago, note } from './dom.js';
import { get, post } from './api.js';
import { card, tiles, empty, act, copyable } from './parts.js';
import { lines, bars, histogram } from './charts.js';
import { clock } from './live.js';

const LIVE = 3000;

// Points of the history: milliseconds where known, else rows.
const curve = (history, name, timed) => history.filter((one) => one[name] != null).map((one) => [timed ? Date.parse(one.at) : one.row, one[name]]);

// When a row was observed, between the points of the history around it.
function timeOf(row, history) {
	const after = history.findIndex((one) => one.row >= row);
	if (after <= 0) return Date.parse(history.at(after).at);
	const [a, b] = [history[after - 1], history[after]];
	return Date.parse(a.at) + ((row - a.row) / (b.row - a.row)) * (Date.parse(b.at) - Date.parse(a.at));
}

function driftTable(changes, place) {
	return table('Drift by column', ['Column', 'When', '#How far', 'Before', 'After'], changes.map((one) => [one.column, place(one), percent(one.distance, 0),
		histogram(one.before.map(([, n]) => n), `${one.column} before: ${one.before.map(([v, n]) => `${v}: ${n}`).join(', ')}`), histogram(one.after.map(([, n]) => n), `${one.column} after: ${one.after.map(([v, n]) => `${v}: ${n}`).join(', ')}`)]));
}

function charts(s, byTime, [figure, show, named]) {
	const timed = byTime && s.history.length > 1 && s.history.every((one) => one.at);
	const x = (row) => (timed ? timeOf(row, s.history) : row);
	const marks = s.history.length ? [...s.drift.rows.map((row) => ({ at: x(row), name: 'the error drifted', color: 4 })), ...s.drift.inputs.rows.map((row) => ({ at: x(row), name: 'the inputs drifted', color: 2 })),
		...s.consolidations.map((one) => ({ at: x(one.rows), name: 'consolidation', color: 3 }))] : [];
	const options = { marks, time: timed, xLabel: timed ? '' : 'rows' };
	const line = (title, key, color, rest) => { const points = curve(s.history, key, timed); return points.length > 1 ? lines(title, [{ name: title, points, color }], { ...options, ...rest }) : null; };
	const coverage = line('Coverage of the 90 % prediction sets, recent rows', 'coverage', 1, { format: percent, limits: [0, 1], height: 130 });
	const memory = line('Entries in memory', 'memory', 3, { height: 110, format: (v) => num(Math.round(v)) });
	return [line(`${named}, recent rows`, figure, 1, { format: show, height: 230, limits: figure === 'mae' ? [0, Infinity] : [0, 1] }) ?? note('No points yet.'), coverage, memory];
}

function drawn(s, byTime) {
	const { prequential: p, consolidations } = s;
	const [figure, show, named] = p.accuracy == null ? ['mae', num, 'Mean absolute error'] : ['accuracy', percent, 'Accuracy'];
	const columns = s.drift.columns ?? [];
	return [
		tiles([['Observed', num(s.observed), 'rows'], [`${named}, all rows`, show(p[figure])], [`${named}, recent rows`, show(p.window), `last ${num(p.window_rows)}`],
			p.kappa_last == null ? ['Predicting the last value', num(p.window_last_value), 'error'] : ['Predicting the last label', show(p.window_last_label), `kappa ${num(p.kappa_last, 2)}`],
			['Drift of the error', s.drift.detected ? 'now' : s.drift.count ? num(s.drift.count) : 'none', s.drift.count ? (s.drift.count === 1 ? 'time' : 'times') : ''], ['Memory', num(s.memory.entries), `of ${num(s.memory.capacity)} entries`]]),
		card('Over time: each row is predicted before it is learned', h('div.stack', charts(s, byTime, [figure, show, named]))),
		s.horizon?.[1]?.rows ? card('Rows since the last one learned', table('By rows since the last one learned', ['Rows since', `#${named}`, '#Coverage of 90 % sets', '#Rows'], s.horizon.filter((one) => one.rows).map((one) => [num(one.rows_since), show(one[figure]), one.coverage == null ? '' : percent(one.coverage), num(one.rows)])),
			note('Where labels come late, or many rows are predicted ahead.')) : null,
		columns.length ? card('Drift by column', driftTable(columns.toReversed().slice(0, 20), (one) => [`row ${num(one.row)}`, one.at ? [', ', ago(one.at)] : null]),
			note('How far: the share of rows that would have to change (total variation). The newest changes are first.')) : null,
		Object.keys(s.classes ?? {}).length ? card('Recall by class', bars(Object.entries(s.classes).map(([label, c]) => [label, c.recall, { text: `${percent(c.recall)} of ${num(c.rows)}` }]), percent, 20, 1)) : null,
		card('Consolidations', consolidations.length ? [table('Consolidations', ['After rows', `#${named} before`, '#After', '#On rows', 'Result'], consolidations.toReversed().map((c) => [num(c.rows), show(c.before), show(c.after), num(c.judged), c.accepted ? 'kept' : 'dropped'])), note('On the newest rows, without learning from one before the next.')]
			: note('None yet. A consolidation replays recent rows into a copy of the model and keeps the copy if it predicts them no worse.')),
	];
}

export async function streamTab({ it, path, name, signal }) {
	const box = h('div.stack');
	const button = act('Consolidate now', async () => { location.hash = to('jobs', (await post(`${path}/consolidate`, {})).id); });
	const axis = h('select', { label: 'Axis' }, h('option', { value: '' }, 'by rows'), h('option', { value: 'time' }, 'by time'));
	const tools = h('div.row', axis, button);
	let now = await get(`${path}/stream`, signal);
	const draw = () => {
		tools.classList.toggle('hide', !now.observed);
		axis.classList.toggle('hide', !now.history?.[1]?.at);
		put(box, now.observed ? drawn(now, axis.value === 'time')
			: empty('No observations yet', 'Send labelled rows to the endpoint below; the model learns from each at once.', copyable(`curl ${location.origin}/api/v1/models/${name}/observe \\\n  --json '{"rows":[{ … , "${it.target}": … }]}'`, 'the call')));
	};
	axis.onchange = draw;
	draw();
	clock(async () => {
		const next = await get(`${path}/stream`, signal);
		if (next.observed === now.observed && next.consolidations.length === now.consolidations.length) return;
		now = next;
		draw();
	}, () => LIVE, signal);
	return h('div.stack', tools, box);
}
