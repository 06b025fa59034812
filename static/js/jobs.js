// The list of jobs, and the page of one job.

import { h, put, num, percent, short, words, link, go, ago, select } from './dom.js';
import { get, post } from './api.js';
import { clock, ended } from './live.js';
import { heading, card, empty, paged, named, quality, follow, pace, meter, chip, series, act, toast, cancel, trouble, figures, reload, filters, finishing, everything, attempt, warningList } from './parts.js';
import { lines } from './charts.js';

export function jobs(signal) {
	const status = select([['', 'any status'], 'queued', 'running', 'succeeded', 'failed', 'canceled'], '', { label: 'Status' });
	const kind = select([['', 'any kind'], 'train', 'consolidate', 'evaluate', 'predict', 'compare', 'distill'], '', { label: 'Kind' });
	const names = h('datalist', { id: 'names' });
	const model = h('input', { type: 'search', placeholder: 'model', label: 'Model', list: 'names', onfocus: () => attempt(async () => {
		if (!names.childElementCount) put(names, (await everything('/models', signal)).map((one) => h('option', { value: one.name })));
	}) });
	filters({ status, kind, model }, () => pages.restart());
	const pages = paged('/jobs', ['Jobs', ['Model', 'Kind', 'Status', '#Progress', '#Quality', 'Created'], (one) => [
		named(one.model ?? 'comparison', one.version, 'jobs', one.id), words(one.kind), chip(one.status),
		percent(one.status === 'succeeded' ? 1 : one.progress?.fraction ?? 0, 0), quality(one.metrics), ago(one.created_at)]],
	empty('No matching job', 'Trainings and all other jobs are listed here.', go('Start one from a dataset', 'datasets')),
	signal, () => ({ limit: 50, status: status.value, kind: kind.value, model: model.value.trim() }));
	clock(async () => {
		// The list is not redrawn while it has keyboard focus.
		if (pages.items?.some((one) => !ended(one)) && !pages.node.contains(document.activeElement)) await pages.quiet();
	}, () => 5000, signal);
	return [heading('Jobs', null, status, kind, model, names), card(null, pages.node)];
}

// `#/jobs/{id}`: progress, curves and log, live.
export async function job(signal, id) {
	const first = await get(`/jobs/${id}`, signal);
	const status = h('span');
	const tools = h('div.row');
	const bar = meter('Progress');
	const text = h('p.mute');
	const tilesBox = h('div');
	const outcome = h('p.small');
	const warnings = h('div');
	const losses = h('div.plot');
	const scores = h('div.plot');
	const plots = h('div.grid2', card('Loss', losses), card('Quality', scores));
	const log = h('pre.log', { tabindex: '0', label: 'Log' });
	const logCard = h('section.card.hide', h('h2', 'Log'), log);
	let seen = '';
	let drawn = -1;

	const draw = ({ job: now, curves }) => {
		const p = now.progress ?? {};
		if (seen !== now.status) {
			seen = now.status;
			put(status, chip(seen));
			put(tools, !ended(now) ? cancel(now) : seen === 'succeeded' ? !now.model ? go('See it', 'comparisons', id) : go('See the model', 'models', now.model, now.served === false ? 'versions' : 'try') : act('Try again', async () => {
				await post(`/jobs/${id}/retry`, {});
				toast('Queued again.');
				reload();
			}, 'button.main'));
		}
		const share = seen === 'succeeded' ? 1 : p.fraction ?? 0;
		const moving = finishing(now);
		bar.set(share, moving);
		put(text, [moving ? '' : percent(share, 0), pace(now)].filter(Boolean).join(' · '));
		put(tilesBox, figures(now.metrics, p.epochs > 1 ? [['Epoch', `${p.epoch} / ${p.epochs}`], ['Speed', short(p.rows_per_second), 'rows/s']] : []));
		put(outcome, now.served_reason && [now.served ? `Version ${now.version} serves` : `Version ${now.version} is ready and not served`, `: ${now.served_reason}.`, now.served === false && [' ', link('See the versions', 'models', now.model, 'versions')]]);
		put(warnings, now.warnings?.length ? card('Warnings', warningList(now.warnings)) : null);
		const points = Object.values(curves).flat().length;
		plots.classList.toggle('hide', ended(now) && !points);
		if (points === drawn) return;
		drawn = points;
		put(losses, lines('Loss', series(curves)));
		put(scores, lines('Quality', series(curves, /accuracy|r2|rmse/), { format: curves.validation_accuracy ? (v) => percent(v) : num }));
	};
	draw({ job: first, curves: {} });
	// Time passes while nothing is reported.
	const passing = setInterval(() => { if (ended(state.job) || signal.aborted) clearInterval(passing); else draw(state); }, 1000);
	const state = follow(first, draw, signal, (line) => {
		logCard.classList.remove('hide');
		const end = log.scrollTop + log.clientHeight >= log.scrollHeight - 8;
		log.append(`${line}\n`);
		if (end) log.scrollTop = log.scrollHeight;
	});

	return [
		heading(`${words(first.kind)} ${first.model ?? ''}`, [link('Jobs', 'jobs'), ' / ', first.version ? `version ${first.version}, ` : '', `attempt ${first.attempt}${first.resumed_from_step ? `, resumed from step ${first.resumed_from_step}` : ''}, submitted `, ago(first.created_at)], status, tools),
		h('div.stack',
			first.error && trouble({ message: first.error.detail, details: first.error.details }),
			h('section.card.stack.tight', { label: 'Progress' }, text, bar.node, outcome),
			tilesBox, warnings,
			plots,
			logCard),
	];
}
