// Comparisons of models with recordings: the list, and a form for a new one.

import { h, put, select, field, words, ago, go, link, cell } from '../js/dom.js';
import { post, get } from '../js/api.js';
import { heading, card, empty, paged, chip, everything, into, attempt } from '../js/parts.js';
import { found } from './found.js';

document.head.append(Object.assign(document.createElement('link'), { rel: 'stylesheet', href: 'comparisons/style.css' }));

export const comparisons = (signal, id) => (!id ? list(signal) : id === 'new' ? form(signal) : found(signal, id));

const list = (signal) => [heading('Comparisons', null, go('New comparison', 'comparisons', 'new')), h('div.stack', card(null,
	paged('/comparisons', ['Comparisons', ['Systems', 'Reference', 'Compared by', 'Status', 'Created'], (one) => [
		link(cell(one.systems.join(', '), 80), 'comparisons', one.id), one.reference, one.compare, chip(one.status), ago(one.created_at)]],
	empty('No comparison yet', 'Compare a layer of a model with recordings for the same stimuli.', go('Start one', 'comparisons', 'new')), signal).node))];

const KINDS = [['model', 'layer of a model'], ['dataset', 'responses in a dataset'], ['rdm', 'dissimilarities in a dataset'], ['encoder', 'pretrained encoder']];
const FIELDS = { model: ['layer'], dataset: ['channels', 'condition', 'subject', 'run'], rdm: ['subject'], encoder: ['column'] };
const HINTS = { layer: 'else the last one', channels: 'such as v*; else all numbers', condition: 'column; else the row number', subject: 'column, if several', run: 'column, for crossnobis', column: 'of the stimuli' };

async function form(signal) {
	const load = (path) => everything(path, signal).catch(() => []);
	const [models, datasets, encoders] = await Promise.all(['/models', '/datasets', '/encoders'].map(load));
	const names = (items) => items.map((one) => one.name);
	const sources = { model: names(models), dataset: names(datasets), rdm: names(datasets), encoder: names(encoders) };
	const kinds = KINDS.filter(([kind]) => sources[kind].length);
	if (!datasets.length) return [heading('New comparison', link('Comparisons', 'comparisons')), empty('No dataset yet', 'Upload stimuli or recordings first.', go('Upload a file', 'datasets'))];
	const systems = [];
	const box = h('div.stack');
	const stimuli = select([['', 'none'], ...sources.dataset], '', { name: 'stimuli' });
	const condition = h('input', { name: 'condition' });
	const distance = select([['', 'usual one'], 'correlation', 'euclidean', 'mahalanobis', 'crossnobis'], '', { name: 'distance' });
	const compare = select(['rho-a', 'spearman', 'kendall', 'cosine', 'whitened_cosine', 'cka', 'procrustes'], 'rho-a', { name: 'compare' });
	const reference = h('select', { name: 'reference' });
	const samples = h('input', { name: 'samples', type: 'number', min: 10, max: 100000, value: 1000 });

	const renew = () => {
		const chosen = reference.value;
		put(reference, h('option', { value: '' }, 'none: all with each other'), systems.map((one) => one.name.value.trim()).filter(Boolean).map((name) => h('option', { value: name }, name)));
		reference.value = [...reference.options].some((one) => one.value === chosen) ? chosen : '';
	};
	const addSystem = (first) => {
		const one = { kind: select(kinds, first, { name: 'kind' }), name: h('input', { required: true, maxlength: 100 }), fields: {} };
		const rest = h('div.fields');
		const layers = h('datalist');
		const refresh = () => {
			const kind = one.kind.value;
			one.source = select(sources[kind], null, { name: 'source' });
			one.fields = Object.fromEntries(FIELDS[kind].map((name) => [name, h('input')]));
			const suggest = () => attempt(async () => {
				if (!one.name.value) { one.name.value = one.source.value; renew(); }
				if (kind !== 'model') return;
				const { layers: known } = await get(`/models/${one.source.value}/activity`, signal);
				put(layers, known.map((layer) => h('option', { value: layer.name })));
			}, () => {});
			one.source.onchange = suggest;
			put(rest, field(kind === 'rdm' ? 'dataset' : kind, one.source), Object.entries(one.fields).map(([name, node]) => field(words(name), node, HINTS[name])), layers);
			if (kind === 'model') {
				layers.id ||= `layers-${systems.length}`;
				one.fields.layer.setAttribute('list', layers.id);
			}
			suggest();
		};
		one.kind.onchange = refresh;
		one.name.oninput = renew;
		const node = h('fieldset.system.stack.tight', h('legend.sr', 'System'), h('div.fields', field('What', one.kind), field('Name', one.name)), rest,
			h('button.slim', { onclick: () => { systems.splice(systems.indexOf(one), 1); node.remove(); renew(); } }, 'Remove'));
		systems.push(one);
		refresh();
		box.append(node);
	};
	for (const kind of [kinds[0][0], 'dataset']) addSystem(kind);

	const filled = (object) => Object.fromEntries(Object.entries(object).filter(([, value]) => value !== ''));
	const out = h('div', { 'aria-live': 'polite' });
	const submit = () => into(out, async () => {
		const request = {
			...filled({ stimuli: stimuli.value, condition: condition.value.trim(), distance: distance.value, compare: compare.value, reference: reference.value }),
			systems: systems.map((one) => ({ name: one.name.value.trim(), [one.kind.value]: one.source.value, ...filled(Object.fromEntries(Object.entries(one.fields).map(([name, node]) => [name, node.value.trim()]))) })),
			bootstrap: { samples: Number(samples.value) },
		};
		location.hash = `#/comparisons/${(await post('/comparisons', request, signal)).id}`;
	});
	return [heading('New comparison', link('Comparisons', 'comparisons')), h('form.stack', { submit },
		card('Stimuli', h('div.fields', field('Dataset of the stimuli', stimuli, 'for models and encoders'), field('Column with their names', condition, 'else the row number'))),
		card('Systems', box, h('div.row.after', h('button', { onclick: () => addSystem(kinds[0][0]) }, 'Add a system'))),
		card('Comparison', h('div.fields', field('Distance', distance), field('Compared by', compare), field('Reference', reference, 'what the others are to explain'), field('Bootstrap samples', samples))),
		h('div.row', h('button.main', 'Compare')), out)];
}
