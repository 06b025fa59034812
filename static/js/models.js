// The list of models, and the frame of one model's page.

import { h, bytes, words, to, link, go, ago } from './dom.js';
import { get } from './api.js';
import { heading, card, empty, into, chip, quality, measured, score, listing, named, warningList } from './parts.js';

export const models = (signal) => [heading('Models'), card(null, listing('/models', {
	caption: 'Models',
	columns: [
		{ name: 'Model', cell: (m) => named(m.name, null, 'models', m.name), by: (m) => m.name },
		{ name: 'Serves', cell: (m) => (m.version ? `version ${m.version}` : h('span.mute', 'nothing yet')), by: (m) => m.version },
		{ name: 'Family', cell: (m) => words(m.family), by: (m) => m.family },
		{ name: 'Task', cell: (m) => m.task ?? '–', by: (m) => m.task },
		{ name: 'Quality', cell: (m) => quality(m.metrics), by: (m) => score(m.metrics), figure: true },
		{ name: 'Size', cell: (m) => bytes(m.bytes), by: (m) => m.bytes, figure: true },
		{ name: 'Updated', cell: (m) => ago(m.updated_at), by: (m) => m.updated_at },
	],
	text: (m) => `${m.name} ${m.target} ${m.family} ${m.task}`,
	choices: [['family', 'Family', (m) => m.family], ['task', 'Task', (m) => m.task]],
	none: empty('No model yet', 'A model is created by its first training. Open a dataset and train one from it.', go('Go to datasets', 'datasets')),
}, signal))];

// Each is a file with a function of its name.
const TABS = { try: 'Try it', use: 'Use it', quality: 'Quality', versions: 'Versions', compare: 'Compare', activity: 'Activity', stream: 'Stream', memory: 'Memory' };

// `#/models/{name}/{tab}`.
export async function model(signal, name, tab) {
	const path = `/models/${name}`;
	const it = await get(path, signal);
	const served = it.served = it.versions.find((v) => v.version === it.version);
	const here = tab in TABS ? tab : 'try';
	const body = h('div');
	into(body, async () => (await import(`./${here}.js`))[`${here}Tab`]({ it, path, name, signal }));
	const origin = served && h('p.small.mute.origin', 'Learned from ', served.dataset ? [link(served.dataset.name, 'datasets', served.dataset.name), ` revision ${served.dataset.revision}`] : 'observations',
		served.job_id && [', ', link('its job', 'jobs', served.job_id)], ', ', ago(served.created_at));
	return [
		heading(name, [link('Models', 'models'), ` / ${words(it.family ?? 'not trained yet')}`],
			it.version ? h('span.chip.good', `version ${it.version} serves`) : chip('no version yet'),
			h('span.mute.small', `predicts ${it.target}`, ` · ${measured(served ?? it)}`.replace(' · –', ''))),
		origin,
		h('nav.tabs', { label: 'Parts of the model' }, Object.entries(TABS).map(([key, text]) => h('a', { href: to('models', name, key), 'aria-current': key === here && 'page' }, text))),
		['try', 'quality'].includes(here) && warned(it),
		body,
	];
}

const warned = (it) => (it.warnings?.length ? h('details.card.warned', { open: it.warnings.length < 3 }, h('summary', `Warnings of its training: ${it.warnings.length}`), warningList(it.warnings)) : null);
