// What a comparison found.

import { h, num, select, field, table, words, link, ago, note } from '../js/dom.js';
import { get, list, download } from '../js/api.js';
import { heading, card, chip, remover, trouble, act, tiles, jobCard, reload, into } from '../js/parts.js';
import { ended } from '../js/live.js';
import { heatmap, scale, similarities, curve, scatter, thumbnail } from './figures.js';

const [MOST_DRAWN, MOST_PICTURES] = [400, 200];

export async function found(signal, id) {
	const it = await get(`/comparisons/${id}`, signal);
	const { reference, compare } = it.request;
	const status = h('span', chip(it.status));
	const head = heading(reference ? `Compared with ${reference}` : 'Comparison', [link('Comparisons', 'comparisons'), ' / ', ago(it.created_at), ' ', status],
		it.status === 'succeeded' ? act('JSON', () => download(`/comparisons/${id}`, `comparison-${id}.json`)) : null,
		ended(it) ? remover('Delete', 'Delete this comparison?', '', `/comparisons/${id}`, '#/comparisons') : null);
	if (!ended(it)) return [head, card(null, jobCard(await get(`/jobs/${id}`, signal), signal, reload).node)];
	if (it.status !== 'succeeded') return [head, h('div.stack', it.error ? trouble({ message: it.error.detail, details: it.error.details }) : h('p.mute', 'It was cancelled.'), systems(it))];
	const against = it.similarity.filter((one) => one.b === reference);
	return [head, h('div.stack', tiles([['Stimuli', num(it.conditions.length)], ['Systems', num(it.systems.length)], ['Compared by', words(compare)],
		...(it.noise_ceiling ? [['Noise ceiling', `${num(it.noise_ceiling.lower)} to ${num(it.noise_ceiling.upper)}`]] : []),
		...(it.bootstrap ? [['Bootstrap', num(it.bootstrap.samples), `samples of ${it.bootstrap.over.join(' and ')}`]] : [])]),
	against.length ? card(null, similarities(against, it.noise_ceiling, words(compare))) : null,
	against.length ? layers(it, against) : null,
	card('Similarity', pairs(against.length ? against : it.similarity), note('p: of one test; q: adjusted for their number.'),
		against.length < it.similarity.length && against.length ? h('details', h('summary', 'All pairs'), pairs(it.similarity)) : null),
	it.pairwise.length ? card('Which fits better', table('Which fits better', ['System', 'less', '#Difference', '#p', '#q'], it.pairwise.map((one) => [one.a, one.b, num(one.difference), num(one.p), num(one.q)]))) : null,
	it.weighting ? card('Best mixture', table('Best mixture', ['System', '#Weight'], it.weighting.systems.map((name, i) => [name, num(it.weighting.weights[i])])),
		note(`On stimuli and subjects it was not fitted to: ${num(it.weighting.value)}.`)) : null,
	matrices(it), stimuli(it, signal), systems(it),
	it.dropped.length ? card('Stimuli left out', table('Stimuli left out', ['Stimulus', 'Reason'], it.dropped.map((one) => [one.condition, one.reason]))) : null)];
}

const pairs = (items) => table('Similarity', ['System', 'with', '#Similarity', '#95 % interval', '#p above zero', '#q', '#p from ceiling', '#q '], items.map((one) => [
	one.a, one.b, num(one.value), one.interval ? `${num(one.interval[0])} to ${num(one.interval[1])}` : null, num(one.p_zero), num(one.q_zero), num(one.p_ceiling), num(one.q_ceiling)]));

// A curve for each model with several layers.
function layers(it, against) {
	const models = new Map();
	for (const one of it.systems) {
		const given = it.request.systems.find((system) => system.name === one.name);
		const fit = against.find((other) => other.a === one.name);
		if (given.model && fit) models.set(given.model, [...(models.get(given.model) ?? []), { ...fit, layer: one.layer }]);
	}
	for (const [name, items] of models) if (items.length < 2) models.delete(name);
	return models.size ? card(null, curve(models, it.noise_ceiling, words(it.request.compare))) : null;
}

const meansOf = (it) => it.rdms.filter((one) => one.subject == null);

function matrices(it) {
	const means = meansOf(it);
	return means.length > 0 && card('Dissimilarities', scale(), h('div.matrices', means.map((one) => heatmap(one, it.conditions))),
		it.rdms_left_out ? note(`${num(it.rdms_left_out)} matrices were too large to keep.`) : null);
}

// Pictures and groups of the stimuli, where their dataset has them.
async function marks(it, signal) {
	const name = it.request.stimuli ?? it.request.systems.map((one) => one.dataset).find(Boolean);
	if (!name || it.conditions.length > MOST_PICTURES) return [[], []];
	const set = await get(`/datasets/${name}`, signal);
	if (set.rows > MOST_PICTURES) return [[], []];
	const { rows } = await list(`/datasets/${name}/rows`, { limit: set.rows }, signal);
	const key = it.request.condition ?? it.request.systems.find((one) => one.dataset === name)?.condition;
	const byName = new Map(rows.map((row, i) => [String(key ? row[key] : i), row]));
	const own = it.conditions.map((one) => byName.get(one));
	if (!own.every(Boolean)) return [[], []];
	const image = set.columns.find((one) => one.kind === 'image');
	const grid = set.columns.find((one) => one.kind === 'vector' && one.shape?.length > 1);
	const pictures = image ? own.map((row) => `data:image;base64,${row[image.name]}`) : grid ? own.map((row) => thumbnail(grid.members ? grid.members.map((m) => row[m]) : row[grid.name], grid.shape)) : [];
	const grouped = set.columns.find((one) => one.name !== key && ['category', 'boolean'].includes(one.kind) && one.distinct > 1 && one.distinct <= 4);
	const values = grouped ? [...new Set(own.map((row) => String(row[grouped.name])))].sort() : [];
	const groups = grouped ? own.map((row) => values.indexOf(String(row[grouped.name])) + 1) : [];
	return [pictures, groups, grouped && h('ul.legend', values.map((value, i) => h('li', h('i', { class: `c${i + 1}` }), `${words(grouped.name)} ${value}`)))];
}

function stimuli(it, signal) {
	const means = meansOf(it);
	if (!means.length || it.conditions.length > MOST_DRAWN) return null;
	const system = select(means.map((one) => one.system), it.request.reference, { label: 'System' });
	const out = h('div');
	let known;
	const draw = () => into(out, async () => {
		known ??= await marks(it, signal).catch(() => [[], []]);
		return [known[2], scatter(means.find((one) => one.system === system.value), it.conditions, known[0], known[1])];
	});
	system.onchange = draw;
	draw();
	return card('Stimuli in a plane', h('div.fields', field('System', system)), out);
}

const systems = (it) => (it.systems.length ? card('Systems', table('Systems', ['System', 'From', '#Channels', 'Distance', '#Stimuli', '#Subjects', 'Notes'], it.systems.map((one) => {
	const { model, encoder, dataset, rdm } = it.request.systems.find((given) => given.name === one.name);
	return [one.name, model ? [link(model, 'models', model), ` version ${one.version}, ${one.layer}`] : encoder ?? link(dataset ?? rdm, 'datasets', dataset ?? rdm), num(one.channels), one.distance ?? 'as published', num(one.conditions), num(one.subjects.length || 1), one.notes.join(' ')];
}))) : null);
