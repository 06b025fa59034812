// Two versions side by side: differences with intervals, calibration, confusion, rows they disagree on.

import { h, num, select, table, field, cell, words, note } from './dom.js';
import { get, list } from './api.js';
import { card, empty, into, query, setQuery, metric, versionOptions, datasetPick, rowText } from './parts.js';
import { calibration, matrix } from './charts.js';
import { differences } from './plots.js';

// Better is less for errors, more for all else.
const lowerIsBetter = (name) => /loss|mae|rmse|error/.test(name);

function rating(name, { difference, interval }, [a, b]) {
	if (interval[0] <= 0 && interval[1] >= 0) return ['no clear difference', ''];
	return (difference < 0) === lowerIsBetter(name) ? [`version ${b} is better`, 'good'] : [`version ${a} is better`, 'warn'];
}

// Shares of each true class, the second version less the first.
function confusionChange(x, y) {
	if (!x?.confusion?.length || JSON.stringify(x.classes) !== JSON.stringify(y?.classes) || x.classes.length > 24) return null;
	const shares = (e) => e.confusion.map((row) => { const sum = row.reduce((p, q) => p + q, 0) || 1; return row.map((n) => n / sum); });
	const [a, b] = [shares(x), shares(y)];
	const change = a.map((row, i) => row.map((v, j) => b[i][j] - v));
	return [matrix('Change of the confusion', x.classes, change, (d, i, j) => [Math.min(0.6, Math.abs(d) * 3), Math.abs(d) < 0.0005 ? null : `${d > 0 ? '+' : '−'}${num(Math.abs(d) * 100, 2)}`, (d >= 0) !== (i === j)]),
		note('Percentage points of each true class, on the held-out rows of each version.')];
}

async function compared(it, path, [a, b], dataset, items, signal) {
	const made = await list(`${path}/compare`, { versions: `${a},${b}`, dataset }, signal);
	const [x, y] = [a, b].map((v) => items.find((one) => one.version === v)?.held_out);
	const change = confusionChange(x, y);
	const shown = made.disagree.slice(0, 10);
	const rows = await Promise.all(shown.map((one) => list(`/datasets/${dataset}/rows`, { offset: one.row, limit: 1 }, signal).then((page) => page.rows[0])));
	return h('div.stack',
		card(`Version ${b} less version ${a}, on ${num(made.rows)} rows of ${dataset}`, differences(Object.entries(made.metrics).map(([name, one]) => ({
			name: words(name), difference: one.difference, interval: one.interval, text: `${metric(name, one.a)} → ${metric(name, one.b)}`, verdict: rating(name, one, [a, b]) }))),
		note('The point is the difference, the bar its 95 % interval over resampled rows, the line is no difference. Rows that a version learned from favour it.')),
		h('div.grid2', x?.calibration?.length && y?.calibration?.length ? [card(`Calibration of version ${a}`, calibration(x.calibration)), card(`Calibration of version ${b}`, calibration(y.calibration))] : null,
			change && card('Change of the confusion', change)),
		card('Rows they answer differently', shown.length ? [table('Rows they answer differently', ['Row', `Version ${a}`, `Version ${b}`, 'Truth', 'The row'], shown.map((one, i) => [
			h('a', { href: `#/datasets/${dataset}?row=${one.row}` }, num(one.row + 1)), mark(it, one.a, one.truth), mark(it, one.b, one.truth), cell(one.truth),
			rowText(rows[i], it.target)])),
		note(`${num(shown.length)} of ${num(made.disagree.length)}${made.disagree.length === 100 ? ' or more' : ''} shown.`)] : h('p.mute', 'They answer all rows alike.')));
}

const mark = (it, answer, truth) => (it.task === 'regression' ? cell(answer) : h(answer === truth ? 'span' : 'span.bad', cell(answer), answer === truth && ' ✓'));

export async function compareTab({ it, path, signal }) {
	const { items } = await get(`${path}/versions?detail=true`, signal);
	if (items.length < 2) return empty('Only one version', 'Two versions can be compared on the same rows. Train again, and choose to keep the new version unserved until you have compared it.');
	const options = versionOptions(it);
	const other = items.find((v) => v.version !== it.version);
	const a = select(options, query().a ?? it.version ?? items[1].version);
	const b = select(options, query().b ?? other.version);
	const out = h('div', { 'aria-live': 'polite' });
	const run = () => into(out, async () => {
		setQuery({ a: a.value, b: b.value, dataset: sets.value });
		out.replaceChildren(h('p.mute', 'Comparing…'));
		return compared(it, path, [Number(a.value), Number(b.value)], sets.value, items, signal);
	});
	const sets = datasetPick(signal, query().dataset ?? it.served?.dataset?.name, () => query().dataset && run());
	return h('div.stack', card(null, h('form.fields', { submit: run }, field('First', a), field('Second', b), field('On the rows of', sets), h('div.field.bottom', h('button.main', 'Compare')))), out);
}
