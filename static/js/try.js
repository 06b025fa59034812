// Try a model: a form for one row, and its prediction.

import { h, percent, select, go } from './dom.js';
import { get, list, post } from './api.js';
import { card, empty, into, act, keep } from './parts.js';
import { features, rowForm, valueOf } from './forms.js';
import { answer } from './answer.js';

// The dataset that the served version learned from, if it still exists.
export async function source(it, signal) {
	const name = it.served?.dataset?.name;
	return name ? get(`/datasets/${name}`, signal).catch(() => null) : null;
}

// Rows of the dataset with the values of the model's columns: `[[row, inputs]]`.
export async function someRows(set, columns, offset, limit, signal) {
	const { rows } = await list(`/datasets/${set.name}/rows`, { offset, limit }, signal);
	return rows.map((row) => [row, Object.fromEntries(columns.map((column) => [column.name, valueOf(row, column)]))]);
}

export async function tryTab({ it, path, name, signal }) {
	if (!it.version) return empty('No version yet', 'The first version appears when its training ends.', go('See the jobs', 'jobs'));
	const set = await source(it, signal);
	const columns = features(it, set);
	const target = set?.columns.find((one) => one.name === it.target);
	it.range = target?.max > target?.min ? [target.min, target.max] : null;
	const out = h('div.busy', { 'aria-live': 'polite' }, empty('No prediction yet', 'Fill in a row, or take one from the dataset. Trying does not change the model.'));
	const predict = (truth) => into(out, async () => {
		const row = form.row();
		const coverage = Number(cover.value);
		const made = await post(`${path}/predict`, { rows: [row], top_k: 10, coverage, explain: true }, signal);
		return answer(made, it, columns, row, path, { coverage, truth });
	});
	const form = rowForm(columns, () => columns.length === 1 && predict());
	const cover = select([0.8, 0.9, 0.95, 0.99].map((share) => [share, percent(share, 0)]), 0.9, { name: 'coverage', id: 'cover' });
	const node = h('form.stack', { submit: predict }, form.node,
		h('div.row', h('button.main', 'Predict'),
			set ? act('Take a row from the dataset', async () => {
				const [[row, seen]] = await someRows(set, columns, Math.floor(Math.random() * set.rows), 1, signal);
				form.set(seen);
				await predict(row[it.target]);
			}) : null,
			h('span.row.small', h('label', { for: 'cover' }, 'coverage'), cover)));
	const restored = keep(node, name);
	form.restore();
	if (restored) predict();
	return h('div.grid2', card('Row', node), card('Prediction', out));
}
