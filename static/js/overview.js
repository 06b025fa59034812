// The overview: running jobs, models, the state of the server.

import { h, put, num, seconds, bytes, percent, words, table, link, go, note } from './dom.js';
import { get, list, text } from './api.js';
import { clock } from './live.js';
import { card, tiles, empty, jobCard, quality, heading, trouble, named } from './parts.js';
import { dropZone } from './upload.js';

const SHOWN = 8;

// Requests answered so far and the seconds they took, by model.
function totals(metrics) {
	const sums = {};
	for (const [, part, model, value] of metrics.matchAll(/^kenyon_predict_total_duration_seconds_(count|sum)\{.*?model="([^"]*)".*\} (\S+)$/gm)) {
		(sums[model] ??= { count: 0, sum: 0 })[part] += Number(value);
	}
	return sums;
}

const system = (info) => tiles([['Queue', info.queue_depth, 'waiting'], ['Uptime', seconds(Math.round(info.uptime))], ['Memory', bytes(info.memory.resident_bytes)],
	['Cores', info.cores, info.device], ['Version', info.version]]);

export function overview(signal) {
	const state = h('div.calm');
	const running = h('div.busy');
	const modelTable = h('div.busy');
	const start = h('div');
	let cards = new Map();
	let leave = new AbortController();
	const cells = new Map();
	let before = null;

	const drawJobs = (items) => {
		// Cards follow their own streams and are created again only when other jobs run.
		if (items.length && items.length === cards.size && items.every((job) => cards.has(job.id))) {
			for (const job of items) cards.get(job.id).update(job);
			return;
		}
		leave.abort();
		leave = new AbortController();
		const until = AbortSignal.any([signal, leave.signal]);
		cards = new Map(items.map((job) => [job.id, jobCard(job, until, () => setTimeout(() => until.aborted || refresh().catch(() => {}), 400))]));
		put(running, items.length ? [...cards.values()].map((one) => one.node)
			: empty('No job is running', 'Upload a dataset, then train from its page.', go('Go to datasets', 'datasets')));
	};

	const drawModels = ({ items }) => put(modelTable, items.length ? [
		table('Models', ['Model', 'Family', '#Quality', '#Requests/s', '#Latency', '#Active units'], items.map((m) => {
			const rates = [h('span', '–'), h('span', '–')];
			cells.set(m.name, rates);
			return [named(m.name, m.version, 'models', m.name), words(m.family), quality(m.metrics), ...rates, percent(m.sparsity?.active_share)];
		})), h('p.pager', link('All models', 'models'))]
		: empty('No model yet', 'A model appears here once its first training has begun.'));

	async function drawRates() {
		const now = { at: performance.now(), sums: totals(await text('/metrics', signal)) };
		const none = { count: 0, sum: 0 };
		for (const [name, [rate, latency]] of before ? cells : []) {
			const [one, last] = [now.sums[name] ?? none, before.sums[name] ?? none];
			const more = one.count - last.count;
			put(rate, num((more * 1000) / (now.at - before.at), 2));
			put(latency, more ? seconds((one.sum - last.sum) / more) : '–');
		}
		before = now;
	}

	async function refresh() {
		const [run, wait] = await Promise.all(['running', 'queued'].map((status) => list('/jobs', { status, limit: SHOWN }, signal)));
		drawJobs([...run.items, ...wait.items].slice(0, SHOWN));
	}

	const tick = async () => {
		const [info] = await Promise.all([get('/system', signal), refresh(), drawRates().catch(() => {})]);
		put(state, system(info));
	};

	(async () => {
		try {
			const [page, sets] = await Promise.all([list('/models', { limit: SHOWN }, signal), list('/datasets', { limit: 1 }, signal)]);
			drawModels(page);
			if (!sets.items.length) put(start, welcome(signal));
			await tick();
		} catch (error) {
			if (error.name !== 'AbortError') put(state, trouble(error));
		}
		clock(tick, () => (cards.size ? 5000 : 15_000), signal);
	})();

	return [heading('Overview'), h('div.stack', start, state, card('Training', running), card('Models', modelTable))];
}

const welcome = (signal) => card('From nothing to a prediction',
	h('div.grid2',
		dropZone(signal),
		h('div.stack.tight', note('Or on the command line:'), h('pre', { tabindex: '0' },
			`curl -T iris.csv ${location.host}/api/v1/datasets/iris\ncurl ${location.host}/api/v1/models/iris/train \\\n  --json '{"dataset":"iris","target":"species"}'`))));
