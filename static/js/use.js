// Use a model from programs: calls to copy with a real row, and its export.

import { h, select, field, note } from './dom.js';
import { get, list, key, download } from './api.js';
import { card, copyable, act, empty, versionOptions } from './parts.js';
import { features } from './forms.js';
import { source, someRows } from './try.js';

const shell = (text) => `'${text.replaceAll("'", `'\\''`)}'`;
const indent = (value, by) => JSON.stringify(value, null, 2).replaceAll('\n', `\n${' '.repeat(by)}`);
// JSON as Python writes it.
const python = (text) => text.replace(/"(?:[^"\\]|\\.)*"|\b(true|false|null)\b/g, (all, word) => ({ true: 'True', false: 'False', null: 'None' })[word] ?? all);

const LANGUAGES = {
	curl: (url, body, auth) => `curl ${url} \\\n${auth ? '  -H "Authorization: Bearer $KENYON_KEY" \\\n' : ''}  --json ${shell(JSON.stringify(body))}`,
	Python: (url, body, auth) => `import json, ${auth ? 'os, ' : ''}urllib.request\n\nbody = ${python(indent(body, 0))}\nrequest = urllib.request.Request(\n    "${url}",\n    json.dumps(body).encode(),\n    {"Content-Type": "application/json"${auth ? ', "Authorization": "Bearer " + os.environ["KENYON_KEY"]' : ''}},\n)\nwith urllib.request.urlopen(request) as answer:\n    print(json.load(answer))`,
	TypeScript: (url, body, auth) => `const response = await fetch("${url}", {\n  method: "POST",\n  headers: { "Content-Type": "application/json"${auth ? ', Authorization: `Bearer ${process.env.KENYON_KEY}`' : ''} },\n  body: JSON.stringify(${indent(body, 2)}),\n});\nif (!response.ok) throw new Error(await response.text());\nconsole.log(await response.json());`,
};

const CALLS = {
	predict: ['Predict a row', (row) => ({ rows: [row], coverage: 0.9 })],
	explain: ['Predict and explain a row', (row) => ({ rows: [row], coverage: 0.9, explain: true })],
	observe: ['Learn a labelled row', (row, label) => ({ rows: [{ ...row, ...label }] })],
};

// A row of the data, or of the memory; without either one of the right columns without values.
async function exampleRow(it, set, columns, path, signal) {
	if (set) {
		const [[row, seen]] = await someRows(set, columns, 0, 1, signal);
		return [seen, row[it.target]];
	}
	const kept = (await list(`${path}/memory`, { limit: 1 }, signal).catch(() => null))?.items[0];
	return [kept?.row ?? Object.fromEntries(columns.map((one) => [one.name, null])), kept?.label ?? kept?.value ?? null];
}

export async function useTab({ it, path, name, signal }) {
	if (!it.version) return empty('No version yet', 'Calls can be copied when the first training has ended.');
	const set = await source(it, signal);
	const columns = features(it, set);
	const [seen, label] = await exampleRow(it, set, columns, path, signal);
	const row = Object.fromEntries(Object.entries(seen).filter(([column, value]) => value != null && column !== it.target));
	const { keys_required: locked } = await get('/system', signal);
	const language = select(Object.keys(LANGUAGES), 'curl', { name: 'language' });
	const what = select(Object.entries(CALLS).map(([one, [text]]) => [one, text]), 'predict', { name: 'call' });
	const box = h('div');
	const draw = () => {
		const body = CALLS[what.value][1](row, { [it.target]: label });
		const end = what.value === 'observe' ? 'observe' : 'predict';
		box.replaceChildren(copyable(LANGUAGES[language.value](`${location.origin}/api/v1${path}/${end}`, body, locked || key()), `the call in ${language.value}`));
	};
	language.onchange = what.onchange = draw;
	draw();
	const file = set ? `kenyon predict ${name} ${set.name}.csv --server ${location.origin}` : `kenyon predict ${name} rows.csv --server ${location.origin}`;
	const version = select(versionOptions(it), it.version);
	const exported = (format, ending) => act(format, () => download(`${path}/versions/${version.value}/export?format=${format}`, `${name}-${version.value}.${ending}`));
	return h('div.stack',
		card('Call it', h('div.stack', h('div.fields', field('Call', what), field('Language', language)), box,
			note(set ? `The row is the first of ${set.name}. ` : '', 'Every call is described under ', h('a', { href: '/docs' }, '/docs'), '; gRPC and the Open Inference Protocol answer under the same name.'))),
		h('div.grid2',
			card('A whole file', h('div.stack.tight', copyable(file, 'the command'), note('Or send CSV, NDJSON or Parquet of any length to the same address; the answer is a line a row.'))),
			card('Export', h('div.stack.tight', field('Version', version), h('div.row', exported('bundle', 'kenyon'), exported('safetensors', 'safetensors'), exported('onnx', 'onnx')),
				note('A bundle can be imported on another server; ONNX is available for the families that can be written so.')))));
}
