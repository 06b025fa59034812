// How good a version is: figures with intervals, importance, calibration, confusion, errors of numbers; on held-out
// rows, or on any dataset.

import { h, num, percent, select, table, link, words, note } from './dom.js';
import { get, post } from './api.js';
import { card, into, empty, query, setQuery, curvesOf, series, figures, measuredOn, versionOptions, datasetPick } from './parts.js';
import { lines, bars, confusion, calibration } from './charts.js';
import { scatter, columns } from './plots.js';

// Of numbers: predictions against the truth, residuals, errors by the size of the target.
function regression(r, target) {
	if (!r?.points?.length) return null;
	const range = (q) => `${num(q.from)} to ${num(q.to)}`;
	return [
		h('div.grid2', card('Predicted against actual', scatter('Predicted against actual', r.points, { xLabel: `actual ${target}`, yLabel: `predicted ${target}`, diagonal: true })),
		card('Residuals', h('div.stack', columns('Residuals', r.histogram, { xLabel: 'predicted minus actual' }), scatter('Residuals', r.points.map(([truth, made]) => [made, made - truth]), { xLabel: `predicted ${target}`, yLabel: 'residual', height: 180 })))),
		card('By the size of the target', table('Errors by quantile', [`Actual ${target}`, '#Rows', '#Mean error', '#Mean absolute error', '#In the 90 % interval'],
			r.quantiles.map((q) => [range(q), num(q.rows), num(q.bias, 2), num(q.mae, 2), q.coverage == null ? null : h(q.coverage < 0.8 ? 'span.warm' : 'span', percent(q.coverage, 0))])),
		note('Rows are divided by quantiles of the actual value. An interval that holds overall may hold less often for the largest or the smallest values.')),
	];
}

const evaluated = (e, target) => [h('div.grid2',
	e.calibration?.length ? card('Calibration', calibration(e.calibration)) : null,
	e.coverage?.length ? card(`Coverage of the prediction ${e.classes?.length ? 'sets' : 'intervals'}`, table('Coverage', ['#Requested', '#Observed', e.classes?.length ? '#Classes in a set' : '#Width'], e.coverage.map((c) => [percent(c.asked, 0), percent(c.reached), num(c.size)]))) : null,
	e.confusion?.length ? card('Confusion', confusion(e.classes, e.confusion)) : null), regression(e.regression, target)];

// Evaluations are jobs; long ones are waited for here.
async function evaluate(path, dataset, signal) {
	let made = await post(`${path}/evaluate`, { dataset }, signal);
	while (made.status) {
		if (['failed', 'canceled'].includes(made.status)) throw new Error(made.error?.detail ?? 'The evaluation did not end well.');
		if (made.result) return made.result;
		await new Promise((done) => { setTimeout(done, 2000); });
		made = await get(`/jobs/${made.id}`, signal);
	}
	return made;
}

function onDataset(it, path, signal) {
	const out = h('div', { 'aria-live': 'polite' });
	const pick = datasetPick(signal);
	const button = h('button', 'Evaluate');
	return card('Evaluate on a dataset', h('form.row', { submit: async () => {
		button.disabled = true;
		await into(out, async () => {
			out.replaceChildren(h('p.mute', 'Evaluating…'));
			const made = await evaluate(path, pick.value, signal);
			return h('div.stack', note(`Version ${made.version} on ${num(made.rows)} rows of ${pick.value}${made.skipped ? `; ${num(made.skipped)} rows without a known target are left out` : ''}. Rows that the version learned from make it look better than it is.`), figures(made.metrics), evaluated(made, it.target));
		});
		button.disabled = false;
	} }, pick, button), out);
}

// Which features matter.
const importance = (found) => card('Importance of the features',
	bars(found.features.map((one) => [one.name, one.importance, { span: one.interval }]), (v) => num(v, 2), 20),
	note(`How much ${words(found.metric)} rises on ${num(found.rows)} held-out rows when a column has the values of other rows, with 95 % intervals. An interval that contains 0 is no evidence that the column matters.`));

// How often sets and intervals contain the truth, by the guarantee of the version.
const OFTEN = { split_conformal: 'at least as often as requested', cross_conformal: 'about as often as requested', none: 'with no guaranteed share' };

export async function qualityTab({ it, path, signal }) {
	const { items } = await get(`${path}/versions?detail=true`, signal);
	if (!items.length) return empty('No metrics yet', 'Metrics appear when the first training ends.');
	const body = h('div.stack');
	const pick = select(versionOptions(it), query().version ?? it.version ?? items[0].version, { label: 'Version' });
	const draw = () => into(body, async () => {
		const version = items.find((v) => v.version === Number(pick.value)) ?? items[0];
		pick.value = version.version;
		const [curves, matter] = await Promise.all([version.job_id ? curvesOf(version.job_id, signal).catch(() => ({})) : {}, get(`${path}/importance?version=${pick.value}`, signal).catch(() => null)]);
		const notes = (version.version === it.version && it.notes) || [];
		const on = measuredOn(version);
		return [figures(version.metrics, [], version.intervals),
			note(on && `Measured on ${on}${version.intervals ? ', with 95 % intervals' : ''}. `, version.guarantee && `Sets and intervals contain the truth ${OFTEN[version.guarantee]}.`),
			h('div.grid2', matter && importance(matter), Object.values(curves).some((points) => points.length > 1) && card('Learning', lines('Loss', series(curves)))),
			evaluated(version.held_out ?? {}, it.target),
			notes.length ? card('Decisions of the training', h('ul.list', notes.map((line) => h('li', line.replace(/^\w+:/, words))))) : null];
	});
	pick.onchange = () => { setQuery({ version: pick.value }); draw(); };
	draw();
	return h('div.stack', h('div.row', pick, items.length > 1 && link('Compare two versions', 'models', it.name, 'compare')), body, it.version && onDataset(it, path, signal));
}
