// A model's versions: which one answers, traffic between them, and deleting the model.

import { h, put, bytes, words, go, ago, link, select, field, table } from './dom.js';
import { call } from './api.js';
import { card, empty, act, toast, sure, remover, chip, measured, reload, versionOptions } from './parts.js';

export function versionsTab({ it, path, name }) {
	const items = it.versions;
	if (!items.length) return empty('No version yet', 'Each finished training creates one.', go('Train from a dataset', 'datasets'));
	// Each changes what clients are answered, so each needs a confirmation.
	const change = (question, text, way, to, done, body) => async () => {
		if (!(await sure(question, text(), 'Yes, change it', 'button.main'))) return;
		await call(way, `${path}/${to}`, body?.());
		toast(done());
		reload();
	};
	const options = versionOptions(it);
	const now = it.traffic;
	const stable = select(options, now.stable ?? it.version);
	const canary = select([['', 'none'], ...options], now.canary?.version);
	const weight = h('input', { type: 'range', min: 0, max: 100, step: 1, value: Math.round((now.canary?.weight ?? 0.1) * 100) });
	const shadow = select([['', 'none'], ...options], now.shadow);
	const share = h('span.hint');
	const split = () => (canary.value ? `${weight.value} % of the requests go to version ${canary.value}` : 'no canary');
	weight.oninput = canary.onchange = () => put(share, split());
	put(share, split());
	const traffic = () => ({ stable: Number(stable.value), canary: canary.value ? { version: Number(canary.value), weight: weight.value / 100 } : undefined, shadow: shadow.value ? Number(shadow.value) : undefined });
	const promote = (v) => act('Serve', change(`Serve version ${v.version}?`, () => `All requests to ${name} are answered by version ${v.version} (${measured(v)}) at once, instead of version ${it.version}.`, 'POST', `versions/${v.version}/promote`, () => `Version ${v.version} serves now.`), 'button.slim', { label: `Serve version ${v.version}` });
	return h('div.stack',
		card(null, h('div.row.between', h('h2', 'Versions'), items.length > 1 && act('Roll back', change('Roll back?', () => 'The version that served before serves again at once.', 'POST', 'rollback', () => 'The previous version serves now.'))),
			table('Versions', ['Version', 'State', 'Family', 'Dataset', 'Quality', '#Size', 'Made', 'Action'], items.map((v) => [
				v.job_id ? link(`version ${v.version}`, 'jobs', v.job_id) : `version ${v.version}`, chip(v.state), words(v.family), v.dataset ? [link(v.dataset.name, 'datasets', v.dataset.name), h('span.mute', ` rev. ${v.dataset.revision}`)] : 'observations', measured(v), bytes(v.bytes), ago(v.created_at),
				v.state !== 'served' && promote(v)]))),
		items.length > 1 && card('Traffic', h('div.stack',
			h('div.fields', field('Stable', stable), field('Canary', canary), h('div', field('Canary share', weight), share), field('Shadow', shadow, 'predictions are compared, not returned')),
			h('div.row', act('Set traffic', change('Change the traffic?', () => `Version ${stable.value} serves; ${split()}; ${shadow.value ? `version ${shadow.value} is the shadow` : 'no shadow'}.`, 'PUT', 'traffic', () => 'Traffic changed.', traffic), 'button.main')))),
		h('div.row', remover('Delete this model', `Delete ${name}?`, 'All its versions and its memory are deleted.', path, '#/models')));
}
