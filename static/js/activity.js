// How much of the network works for a prediction, and what it costs.

import { h, num, percent, bytes, short, go, table, note } from './dom.js';
import { get, post } from './api.js';
import { card, tiles, empty, into, act, meter } from './parts.js';
import { bars, lines, raster } from './charts.js';
import { features } from './forms.js';
import { units } from './explain.js';
import { source, someRows } from './try.js';

const MEASURES = [['active_share', 'Active share'], ['lifetime', 'Lifetime sparseness'], ['population', 'Population sparseness'], ['selectivity', 'Selectivity by class']];

// How sparse the code of each layer is, beside what was found in nervous systems.
function sparse({ rows, layers, known_ranges: known }) {
	const coded = layers.filter((one) => one.sparse_coding);
	const panel = ([key, title]) => {
		const found = coded.filter((one) => one.sparse_coding[key]).map(({ name, sparse_coding: { [key]: v } }) => [name, v.mean ?? v, { mark: true, span: v.quantiles && [v.quantiles[0], v.quantiles[4]] }]);
		return found.length > 0 && h('div.stack.tight', h('h3', title), bars([...found, ...known.filter((one) => one.measure === key).map(({ source, low, high }) => [source.split(',')[0], (low + high) / 2, { mark: false, span: low < high ? [low, high] : undefined, text: low < high ? `${low} to ${high}` : low }])], (v) => num(v, 2), 20, 1));
	};
	return coded.length > 0 && card('Sparse coding', h('div.stack', h('div.grid2', MEASURES.map(panel), h('div.stack.tight', h('h3', 'Tuning'), lines('Tuning of the units', coded.slice(0, 4).map(({ name, sparse_coding: { tuning_curve: curve } }, i) => ({ name, points: curve.map((v, x) => [(100 * x) / (curve.length - 1), v]), color: i + 1 })), { height: 150, xLabel: '% of rows', limits: [0, 1] }), note('Mean response of the units, the strongest row first.'))),
		note(`Lifetime: of a unit over the ${num(rows)} rows; population: of a row over the units; 0 is equal responses, 1 a single one. Lines span nine tenths of them. Pale: ${known.map((one) => `${one.of} (${one.source})`).join('; ')}.`)));
}

export async function activityTab({ it, path, signal }) {
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
		a.layers.length ? card('Layers', table('Layers', ['Layer', '#Units', '#Active', 'Share', '#Dead', '#Dimensions', '#Duty cycle: least, median, most'], a.layers.map((layer) => {
			const duty = layer.duty_cycle ?? {};
			return [layer.name, num(layer.units), num(layer.winners), [meter(`Active share of ${layer.name}`).set(layer.active_share), h('span.small.mute', percent(layer.active_share))], num(layer.dead_units), num(layer.sparse_coding?.participation_ratio), [duty.min, duty.median, duty.max].map((v) => percent(v)).join(' · ')];
		}))) : null,
		sparse(a),
		card('Operations a prediction', bars([['dense network', macs.dense], ['effective', macs.effective], ['finding winners', macs.top_k], ['memory search', macs.memory]].filter(([, value]) => value), short), note(`Energy: ${energy.method}`)),
		set ? card('Active units by class', h('div.stack.tight', note('A line for each row of the data, grouped by prediction; a dot is one of its most active units.'),
			act('Show 40 rows', () => into(fires, async () => {
				const rows = await someRows(set, features(it), 0, 40, signal);
				const made = await post(`${path}/predict`, { rows: rows.map(([, row]) => row), explain: true }, signal);
				const groups = Object.entries(Object.groupBy(made.predictions, (p) => p.label ?? num(p.value))).sort(([x], [y]) => x.localeCompare(y, 'en', { numeric: true }));
				const most = Math.max(...made.predictions.flatMap(units).map(([unit]) => unit)) + 1;
				if (!(most > 0)) return h('p.mute', 'This family does not report active units.');
				return h('ul.bars.wide', groups.map(([label, some]) => h('li', h('span.name', label), raster(some.map(units), most, `Active units of ${some.length} rows predicted as ${label}`))));
			})), fires)) : null);
}
