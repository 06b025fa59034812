// The list of datasets, and one dataset's page: warnings, training, columns, rows.

import { h, num, bytes, link, ago, table, note } from './dom.js';
import { get, list } from './api.js';
import { heading, card, tiles, empty, remover, into, query, setQuery, listing, warningList, everything } from './parts.js';
import { shown, valueOf } from './forms.js';
import { trainForm } from './train.js';
import { dropZone } from './upload.js';

export const datasets = (signal) => [heading('Datasets'), h('div.stack', dropZone(signal), card(null, listing('/datasets', {
	caption: 'Datasets',
	columns: [
		{ name: 'Name', cell: (set) => link(set.name, 'datasets', set.name), by: (set) => set.name },
		{ name: 'Rows', cell: (set) => num(set.rows), by: (set) => set.rows, figure: true },
		{ name: 'Columns', cell: (set) => num(set.columns.length), by: (set) => set.columns.length, figure: true },
		{ name: 'Size', cell: (set) => bytes(set.bytes), by: (set) => set.bytes, figure: true },
		{ name: 'Warnings', cell: (set) => (set.warnings?.length ? h('span.warm', num(set.warnings.length)) : '–'), by: (set) => set.warnings?.length ?? 0, figure: true },
		{ name: 'Updated', cell: (set) => ago(set.updated_at), by: (set) => set.updated_at },
	],
	text: (set) => `${set.name} ${set.columns.map((one) => one.name).slice(0, 200).join(' ')}`,
	none: empty('No data yet', 'Drop a file above; its columns and their kinds are inferred.'),
}, signal)))];

// How the file was read, in words.
const READ = { format: 'read as', delimiter: 'delimiter', quote: 'quote', header: 'header', encoding: 'encoding', decimal: 'decimal', compression: 'compression' };
const named = (v) => ({ '\t': 'tab', ',': 'comma', ';': 'semicolon', '"': 'double quote', "'": 'single quote', ' ': 'space' })[v] ?? v;
const readAs = (set) => (set.read_as ? note(Object.entries(READ).filter(([key]) => typeof set.read_as[key] === 'string' && set.read_as[key] !== 'none').map(([key, label]) => `${label} ${named(set.read_as[key])}`).join(' · ')) : null);

// `#/datasets/{name}`.
export async function dataset(signal, name) {
	const path = `/datasets/${name}`;
	const [set, { items: families }, encoders] = await Promise.all([get(path, signal), get('/families', signal), everything('/encoders', signal).catch(() => [])]);
	return [
		heading(name, link('Datasets', 'datasets'), remover('Delete', `Delete ${name}?`, 'Its rows are deleted. Models trained on them stay.', path, '#/datasets')),
		h('div.stack',
			tiles([['Rows', num(set.rows)], ['Columns', num(set.columns.length)], ['Size', bytes(set.bytes)], ['Revision', num(set.revision)], ['Updated', ago(set.updated_at)]]),
			set.warnings?.length ? card('Warnings', warningList(set.warnings)) : null,
			readAs(set),
			trainForm(set, families, encoders, signal),
			card('Rows', preview(set, path, signal))),
	];
}

function preview(set, path, signal) {
	const size = 10;
	const box = h('div.busy');
	const columns = set.columns.slice(0, 40);
	const turn = (label, from) => h('button.slim', { disabled: from < 0 || from >= set.rows, onclick: () => { setQuery({ row: from }); draw(); } }, label);
	const draw = () => into(box, async () => {
		const offset = Number(query().row) || 0;
		const page = await list(`${path}/rows`, { offset, limit: size }, signal);
		return [table('Rows', ['Row', ...columns.map((c) => c.name)], page.rows.map((row, i) => [num(offset + i + 1), ...columns.map((c) => h('div.cell', shown(valueOf(row, c), c)))]), false),
			h('nav.pager', { label: 'Rows' }, `${num(offset + 1)} to ${num(offset + page.rows.length)} of ${num(set.rows)}`, turn('Previous', Math.max(offset - size, offset ? 0 : -1)), turn('Next', offset + size))];
	});
	draw();
	return box;
}
