// How much of the network works for a prediction, and what it costs.

import { h, num, percent, bytes, short, go, table } from './dom.js';
import { get, post } from './api.js';
import { card, tiles, empty, into, act, meter } from './parts.js';
import { bars, raster } from './charts.js';
import { features } from './forms.js';
import { units } from './explain.js';
import { source, someRows } from './try.js';

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
