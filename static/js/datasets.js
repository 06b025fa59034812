// Datasets: upload, inspect, train.

import { h, put, num, bytes, words, to, link, ago, select, field, table, cell } from './dom.js';
import { get, list, post } from './api.js';
import { heading, card, tiles, empty, paged, remover, keep, trouble, attempt, into, query, setQuery } from './parts.js';
import { histogram } from './charts.js';
import { settingsForm, shown, valueOf } from './forms.js';
import { dropZone, nameOf, NAME } from './upload.js';

const KINDS = ['number', 'category', 'boolean', 'timestamp', 'duration', 'text', 'vector', 'sequence', 'image'];

export const datasets = (signal) => [heading('Datasets'), h('div.stack', dropZone(signal), card(null, paged('/datasets',
	['Datasets', ['Name', '#Rows', '#Columns', '#Size', 'Updated'], (set) => [link(set.name, 'datasets', set.name), num(set.rows), num(set.columns.length), bytes(set.bytes), ago(set.updated_at)]],
	empty('No data yet', 'Drop a file above; its columns and their kinds are inferred.'), signal).node))];

// `#/datasets/{name}`: columns, rows, training.
export async function dataset(signal, name) {
	const path = `/datasets/${name}`;
	const [set, { items: families }] = await Promise.all([get(path, signal), get('/families', signal)]);
	return [
		heading(name, link('Datasets', 'datasets'), remover('Delete', `Delete ${name}?`, 'Its rows are deleted. Models trained on them stay.', path, '#/datasets')),
		h('div.stack',
			tiles([['Rows', num(set.rows)], ['Columns', num(set.columns.length)], ['Size', bytes(set.bytes)], ['Revision', num(set.revision)], ['Updated', ago(set.updated_at)]]),
			warningsCard(set.warnings),
			card('Train a model', trainForm(set, families)),
			card('Columns', table('Columns', ['Column', 'Kind', 'Distribution', '#Missing', '#Distinct', 'Range', '#Mean', 'Examples'], set.columns.map((c) => [
				c.name, [c.unused ?? c.kind, c.shape?.length ? h('span.mute', ` ${c.shape.join('×')}`) : null], c.histogram?.length ? histogram(c.histogram.map(([, n]) => n), `Distribution of ${c.name}`) : '', c.missing ? num(c.missing) : '–', num(c.distinct),
				h('div.cell', c.min == null ? '–' : `${cell(c.min)} to ${cell(c.max)}`), num(c.mean), h('div.cell.mute', (c.examples ?? []).slice(0, 3).map((e) => cell(e, 24)).join(', '))]))),
			card('Rows', preview(set, path, signal))),
	];
}

// Warnings about the data; nothing without warnings.
function warningsCard(warnings) {
	if (!warnings?.length) return null;
	const example = (e) => (e.value == null ? `row ${num(e.row)}` : `row ${num(e.row)}: ${cell(e.value, 24)}`);
	return card('Warnings', table('Warnings', ['Warning', 'Column', 'Detail', '#Rows', 'Examples'], warnings.map((w) => [
		words(w.code), w.column ?? '–', w.detail, w.rows ? num(w.rows) : '–', h('div.cell.mute', (w.examples ?? []).map(example).join(', '))])));
}

function preview(set, path, signal) {
	const size = 10;
	const box = h('div.busy');
	const columns = set.columns.slice(0, 40);
	const turn = (label, from) => h('button.slim', { type: 'button', disabled: from < 0 || from >= set.rows, onclick: () => { setQuery({ row: from }); draw(); } }, label);
	const draw = () => into(box, async () => {
		const offset = Number(query().row) || 0;
		const page = await list(`${path}/rows`, { offset, limit: size }, signal);
		return [table('Rows', ['Row', ...columns.map((c) => c.name)], page.rows.map((row, i) => [num(offset + i + 1), ...columns.map((c) => h('div.cell', shown(valueOf(row, c), c)))])),
			h('nav.pager', { label: 'Rows' }, `${num(offset + 1)} to ${num(offset + page.rows.length)} of ${num(set.rows)}`, turn('Previous', offset - size), turn('Next', offset + size))];
	});
	draw();
	return box;
}

function trainForm(set, families) {
	const answers = set.columns.filter((c) => !['vector', 'sequence', 'image'].includes(c.kind) && c.unused !== 'unreadable').map((c) => c.name);
	const target = select(answers, answers.findLast((name) => /^(label|class|target|species|answer)$/i.test(name)) ?? answers.at(-1), { name: 'target' });
	const model = h('input', { ...NAME, name: 'model', value: nameOf(set.name) });
	const family = select([['', 'Automatic'], ...families.map((f) => [f.name, words(f.name)])], '', { name: 'family', onchange: () => draw() });
	const task = select([['', 'inferred from the target'], 'classification', 'regression'], '', { name: 'task' });
	const share = h('input', { name: 'validation', type: 'number', min: 0.05, max: 0.9, step: 0.05, value: 0.2 });
	const seed = h('input', { name: 'seed', type: 'number', step: 1, min: 0, placeholder: 'default' });
	const kinds = set.columns.slice(0, 60).map((c) => [c.name, select([['', `${c.kind} (inferred)`], ...KINDS.filter((k) => k !== c.kind), 'ignore'], '', { name: `k:${c.name}` })]);
	const settings = h('div');
	const refusal = h('div');
	let drawn = null;
	const draw = () => {
		const one = families.find((f) => f.name === family.value);
		drawn = one && settingsForm(one);
		put(settings, one && h('details', h('summary', `Settings of ${words(one.name)}`), h('p.hint', one.description), drawn.node));
	};
	const some = (object) => (Object.keys(object).length ? object : undefined);
	const form = h('form.stack', { onsubmit: (event) => {
		event.preventDefault();
		attempt(async () => {
			const job = await post(`/models/${model.value}/train`, {
				dataset: set.name, target: target.value, validation: Number(share.value), family: family.value || undefined, task: task.value || undefined,
				seed: seed.value === '' ? undefined : Number(seed.value), config: some(drawn?.config() ?? {}),
				features: some(Object.fromEntries(kinds.map(([name, node]) => [name, node.value]).filter(([, kind]) => kind))),
			});
			location.hash = to('jobs', job.id);
		}, (error) => put(refusal, trouble(error)));
	} },
	h('div.fields', field('Predict', target), field('Name of the model', model), field('Family', family, 'selected from the data, with the reason in the job')),
	h('details', h('summary', 'More: task, hold-out, seed, kinds of columns'), h('div.stack',
		h('div.fields', field('Task', task), field('Share held out', share, 'default 0.2'), field('Seed', seed)),
		h('div.fields', kinds.map(([name, node]) => field(name, node))))),
	settings, h('div.row', h('button.main', 'Train')), refusal);
	keep(form, `train:${set.name}`);
	draw();
	keep(form, `train:${set.name}`);
	return form;
}
