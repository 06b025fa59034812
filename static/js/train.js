// Training from a dataset, in two steps: choose, see the plan, train. Nothing that could replace a served model is
// preselected, and what would break its callers is confirmed.

import { h, put, num, bytes, seconds, words, to, link, select, field, table, cell, ago } from './dom.js';
import { get, post } from './api.js';
import { card, keep, into, sure, warningList, act, quality, attempt } from './parts.js';
import { histogram } from './charts.js';
import { settingsForm } from './forms.js';
import { nameOf, NAME } from './upload.js';

const KINDS = ['number', 'category', 'boolean', 'timestamp', 'duration', 'text', 'vector', 'sequence', 'image'];

const bound = (column, v) => (column.kind === 'timestamp' && typeof v === 'number' ? new Date(v * 1000).toISOString().slice(0, 10) : column.kind === 'duration' && typeof v === 'number' ? seconds(v) : cell(v));

// The columns with their statistics, and how each is read.
function columnTable(set, kinds) {
	return table('Columns', ['Column', 'Read as', 'Distribution', '#Missing', '#Distinct', 'Range', 'Examples'], set.columns.map((c) => [
		[h('div.cell', c.name), c.shape?.length ? h('span.mute.small', c.shape.join(' × ')) : null],
		kinds.get(c.name) ?? (c.unused ? h('span.warm', words(c.unused)) : c.kind),
		c.histogram?.length ? histogram(c.histogram.map(([, n]) => n), `Distribution of ${c.name}`) : '–',
		c.missing ? [num(c.missing), h('span.mute', ` ${Math.max(1, Math.round((c.missing / set.rows) * 100))} %`)] : '–',
		num(c.distinct),
		h('div.cell', c.min == null ? '–' : `${bound(c, c.min)} to ${bound(c, c.max)}`),
		h('div.cell.wide.mute', (c.examples ?? []).slice(0, 3).map((e) => cell(e, 24)).join(', '))]));
}

// What a dry run found.
function planned(plan, rows) {
	const { split } = plan;
	const unused = plan.columns.filter((one) => !one.used && one.reason !== 'the target');
	const used = plan.columns.filter((one) => one.used);
	const how = split.by === 'folds' ? `${num(split.folds)} folds: every row is scored by a network that has not learned from it` : `${num(split.validation)} of ${num(rows)} rows are held out`;
	return h('div.stack', { id: 'plan' },
		h('dl.facts',
			h('dt', 'Time'), h('dd', plan.estimated_seconds == null ? 'unknown' : `about ${seconds(plan.estimated_seconds)}`),
			h('dt', 'Memory'), h('dd', plan.estimated_bytes == null ? 'unknown' : `about ${bytes(plan.estimated_bytes)}`),
			h('dt', 'Task'), h('dd', plan.task, h('span.mute', plan.task_reason ? `, ${plan.task_reason}` : '')),
			h('dt', 'Family'), h('dd', words(plan.family), h('span.mute', plan.reason ? `, ${plan.reason}` : '')),
			h('dt', 'Scored by'), h('dd', how),
			h('dt', 'Inputs'), h('dd', `${num(used.length)}: `, h('span.mute', used.slice(0, 30).map((one) => one.name).join(', '), used.length > 30 ? ', …' : '')),
			unused.length ? [h('dt', 'Not used'), h('dd', unused.slice(0, 20).map((one, i) => [i ? '; ' : '', one.name, h('span.mute', one.reason ? ` (${one.reason})` : '')]))] : null),
		warningList(plan.warnings));
}

// A kind, or a text and its encoder.
function reading(value) {
	const [kind, encoder] = value.split(' ');
	return encoder ? { kind, encoder } : kind;
}

export function trainForm(set, families, encoders, signal) {
	const targets = set.columns.filter((c) => !['vector', 'sequence', 'image'].includes(c.kind) && c.unused !== 'unreadable').map((c) => c.name);
	const target = select([['', 'choose a column'], ...targets], '', { name: 'target', required: true });
	const model = h('input', { ...NAME, name: 'model' });
	const serve = select([['', 'choose'], ['yes', 'serve it at once'], ['no', 'keep it ready, not served']], '', { name: 'promote', required: true });
	const family = select([['', 'automatic'], ...families.map((f) => [f.name, words(f.name)])], '', { name: 'family' });
	const task = select([['', 'inferred from the target'], 'classification', 'regression'], '', { name: 'task' });
	const share = h('input', { name: 'validation', type: 'number', min: 0.05, max: 0.9, step: 0.05, placeholder: 'cross-fitted' });
	const seed = h('input', { name: 'seed', type: 'number', step: 1, min: 0, placeholder: 'default' });
	const balance = select([['', 'as in the data'], ['balanced', 'balanced']], '', { name: 'balance' });
	const kinds = new Map(set.columns.filter((c) => c.unused !== 'unreadable').slice(0, 80).map((c) => [c.name, select([['', c.kind], ...(c.kind === 'text' ? encoders.map(({ name }) => [`text ${name}`, `text, by ${name}`]) : []), ...KINDS.filter((k) => k !== c.kind), ['ignore', 'ignore']], '', { name: `k:${c.name}`, label: `Read ${c.name} as` })]));
	const settings = h('div');
	const plan = h('div', { 'aria-live': 'polite' });
	const known = h('div.note.hide');
	const choice = h('div', field('When it ends', serve, 'The model serves a version already.'));
	let existing = null;
	let drawn = null;

	const some = (object) => (Object.keys(object).length ? object : undefined);
	const request = (more) => ({
		dataset: set.name, target: target.value, family: family.value || undefined, task: task.value || undefined, validation: share.value === '' ? undefined : Number(share.value),
		seed: seed.value === '' ? undefined : Number(seed.value), class_weights: balance.value || undefined, config: some(drawn?.config() ?? {}),
		features: some(Object.fromEntries([...kinds].filter(([, node]) => node.value).map(([name, node]) => [name, reading(node.value)]))), ...more,
	});
	const drawSettings = () => {
		const one = families.find((f) => f.name === family.value);
		drawn = one && settingsForm(one);
		put(settings, one && h('details', h('summary', `Settings of ${words(one.name)}`), h('p.hint', one.description), drawn.node));
	};
	// Whether the name is taken decides which fields are shown.
	async function find() {
		const name = model.value;
		const found = name && model.checkValidity() ? await get(`/models/${name}`, signal).catch(() => null) : null;
		if (name !== model.value) return;
		existing = found;
		choice.classList.toggle('hide', !found?.version);
		serve.disabled = !found?.version;
		known.classList.toggle('hide', !found);
		put(known, found && [`${name} exists: it predicts ${found.target}`, found.version ? [`, version ${found.version} serves (${quality(found.metrics)}), changed `, ago(found.updated_at)] : '', '. The training adds a version to ', link(name, 'models', name), '. Choose another name for a model of its own.']);
	}
	const train = async (more = {}) => {
		const promote = existing?.version ? serve.value === 'yes' : true;
		try {
			const job = await post(`/models/${model.value}/train`, request({ promote, ...more }));
			location.hash = to('jobs', job.id);
		} catch (error) {
			if (error.code !== 'schema_change') throw error;
			const text = [h('p', `${model.value} serves version ${existing?.version ?? ''} now. Programs that call it would break, because in the new version:`), h('ul.list', error.details.map((d) => h('li', d.reason))),
				h('p.mute', promote ? 'The new version would serve as soon as the training ends.' : 'The new version would be kept ready, and not served until you choose it.')];
			if (await sure('This changes what the model predicts', text, 'Train all the same')) await train({ schema_change: true });
		}
	};
	const show = () => into(plan, async () => {
		put(plan, h('p.mute', 'Reading the data…'));
		const found = await post(`/models/${model.value}/train`, request({ dry_run: true, schema_change: true }), signal);
		return card('The plan', planned(found, set.rows), h('div.row.after', act('Train', () => train(), 'button.main')));
	});
	const form = h('form.stack', { submit: show },
		h('section.card', h('h2', 'Train a model'), h('div.stack',
			h('div.fields', field('Predict', target), field('Name of the model', model), choice), known,
			h('details', h('summary', 'More: family, task, rows held out, seed'), h('div.stack',
				h('div.fields', field('Family', family, 'automatic: selected from the data'), field('Task', task), field('Share held out', share, 'empty: every row is scored by networks that have not learned from it'), field('Weights of the classes', balance), field('Seed', seed)), settings)),
			h('div.row', h('button.main', 'Show the plan'), h('span.small.mute', 'Nothing is trained before you have seen it.')))),
		plan,
		card('Columns', columnTable(set, kinds)));
	keep(form, `train:${set.name}`);
	drawSettings();
	keep(form, `train:${set.name}`);
	const changed = form.oninput;
	form.oninput = form.onchange = (event) => {
		changed(event);
		// A plan holds for its request.
		put(plan);
	};
	family.onchange = drawSettings;
	model.oninput = find;
	choice.classList.add('hide');
	serve.disabled = true;
	attempt(async () => {
		const name = nameOf(set.name);
		if (!model.value && !(await get(`/models/${name}`, signal).then(() => true, () => false))) model.value = name;
		await find();
	});
	return form;
}
