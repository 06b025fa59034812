// Renders a prediction: the answer, one verdict with its reasons, the explanation, a label form.

import { h, num, percent, cell, select, note } from './dom.js';
import { post } from './api.js';
import { attempt, sure, toast } from './parts.js';
import { bars } from './charts.js';
import { numberLine } from './plots.js';
import { contributions, internals } from './explain.js';

// The verdict and why, in one place.
function verdict(p, coverage, it) {
	const level = percent(coverage, 0);
	const reasons = [];
	if (p.set) {
		const some = p.set.map((one) => `“${cell(one, 40)}”`);
		reasons.push(!some.length ? `No class is in the ${level} prediction set.` : some.length === 1 ? `${some[0]} is the only class in the ${level} prediction set${p.set[0] === p.label ? '' : ', and another one is named'}.` : `${some.length} classes are in the ${level} prediction set: ${some.slice(0, 6).join(', ')}${some[6] ? ', …' : ''}.`);
	} else if (p.interval) {
		const width = { sure: 'narrower', unsure: 'wider' }[p.verdict];
		reasons.push(`The ${level} prediction interval is ${num(p.interval[0], 4)} to ${num(p.interval[1], 4)}${width ? `, ${width} than half of the usual range of the target` : ''}.`);
	} else if (p.value != null) reasons.push(`Too few rows were held out for a ${level} prediction interval.`);
	if (p.novelty != null) {
		const rank = p.novelty < 0.005 ? 'No held-out row is less unusual' : `The row is more unusual than ${percent(p.novelty, p.novelty > 0.98 ? 1 : 0)} of the held-out rows`;
		reasons.push(p.abstained ? `${rank}: it is unlike the training data, and the answer is not reliable.` : `${rank}.`);
	}
	if (it.warnings?.some((one) => one.code === 'uncalibrated')) reasons.push('Few rows were held out: these figures are coarse.');
	return h('div.row.verdict', { id: 'verdict' }, p.verdict ? h(p.verdict === 'sure' ? 'span.chip.good' : p.verdict === 'unsure' ? 'span.chip.warn' : 'span.chip.fail', p.verdict) : null, h('span.small.mute', reasons.join(' ')));
}

// Learns the true value of the row that was just predicted; apart from trying, and never unconfirmed.
function learn(p, it, labels, path) {
	const numeric = p.label == null;
	const known = it.schema.classes?.length ? it.schema.classes : labels.map(([name]) => name);
	const truth = numeric ? h('input', { type: 'number', step: 'any', label: 'True value', required: true }) : select([['', 'choose the true label'], ...known.map((one, i) => [i, String(one)])], '', { label: 'True label', required: true });
	return h('details', { id: 'learn' }, h('summary', 'Learn the true value'), h('form.stack.tight', { submit: () => {
		attempt(async () => {
			const target = numeric ? Number(truth.value) : known[truth.value];
			if (!(await sure('Learn this row?', `The served model learns at once that ${it.target} of this row is ${cell(target)}. Predictions of other rows may change.`, 'Learn', 'button.main'))) return;
			await post(`${path}/feedback`, { prediction_id: p.prediction_id, target });
			toast('Learned.');
		});
	} }, note('The served model learns the row with this value at once. Trying a row never changes the model.'), h('div.row', truth, h('button', 'Learn'))));
}

export function answer(made, it, list, row, path, { coverage, truth }) {
	const p = made.predictions[0];
	const numeric = p.label == null;
	const labels = Object.entries(p.probabilities ?? {}).sort((a, b) => b[1] - a[1]);
	const inSet = new Set(p.set?.map(String));
	const target = it.range;
	return h('div.answer',
		h('p.big', { id: 'answer' }, numeric ? num(p.value, 5) : String(p.label), ' ', h('small', numeric ? it.target : percent(p.probability))),
		truth === undefined ? null : note('Value in the dataset: ', h('strong', cell(truth))),
		verdict(p, coverage, it),
		labels.length > 1 ? h('div.stack.tight', bars(labels.map(([name, v]) => [name, v, { mark: inSet.has(name), text: [percent(v), p.set ? h('span.in', { title: inSet.has(name) ? 'in the prediction set' : null }, inSet.has(name) ? ' ✓' : '') : null] }]), percent, 10, 1),
			p.set ? note(`✓ marks the ${percent(coverage, 0)} prediction set: it contains the true class for about ${percent(coverage, 0)} of rows like the training data.`) : null) : null,
		numeric ? h('div', numberLine({ value: p.value, interval: p.interval, truth: typeof truth === 'number' ? truth : undefined, range: target ?? p.interval ?? [p.value, p.value], name: it.target }),
			note([p.interval ? `The band is the ${percent(coverage, 0)} prediction interval` : '', target ? 'the line is the range of the dataset' : '', typeof truth === 'number' ? 'the mark is the value in the dataset' : ''].filter(Boolean).join(', ').replace(/^./, (c) => c.toUpperCase()), '.')) : null,
		p.explanation ? contributions(p.explanation, list, row, p.label) : null,
		internals(p, list, row),
		p.prediction_id ? learn(p, it, labels, path) : null,
		note(`Version ${made.version} answered.`));
}
