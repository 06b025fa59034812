// Drag and drop, or a file button: a file becomes a dataset.

import { h, put, to, bytes, field, percent, num, note } from './dom.js';
import { upload } from './api.js';
import { meter, trouble, toast } from './parts.js';

export const NAME = { pattern: '[a-z0-9][a-z0-9_\\-]{0,62}', required: true, title: 'Lower-case letters, digits, _ and -' };

// A dataset's name made from a file's: `Iris (1).csv.gz` → `iris_1`.
export const nameOf = (file) => file.replace(/(\.(csv|tsv|jsonl?|ndjson|parquet|txt|gz|zst))+$/i, '').toLowerCase()
	.replace(/[^a-z0-9_-]+/g, '_').replace(/^[^a-z0-9]+|_+$/g, '').slice(0, 63) || 'data';

// Where a file may be dropped. Goes to the dataset's page when it is stored.
export function dropZone(signal) {
	const input = h('input.sr', { type: 'file', tabindex: '-1', label: 'File to upload', onchange: () => take(input.files[0]) });
	const under = h('div.stack.tight');

	const take = (file) => {
		if (!file) return;
		const name = h('input', { ...NAME, value: nameOf(file.name) });
		put(under, h('form.row', { submit: () => send(file, name.value) },
			field(`Name for ${file.name} (${bytes(file.size)})`, name), h('button.main', 'Upload')));
		name.select();
	};

	async function send(file, name) {
		const bar = meter(`Uploading ${name}`);
		const text = note('Sending…');
		put(under, bar.node, text);
		try {
			const made = await upload(`/datasets/${name}`, file, (share) => {
				bar.set(share);
				put(text, share < 1 ? `Sent ${percent(share, 0)}` : 'Sent. Reading the columns…');
			}, signal);
			const noticed = made.warnings?.length;
			toast(`${name}: ${num(made.rows)} rows stored${noticed ? `, warnings: ${noticed}` : ''}.`);
			if (!signal.aborted) location.hash = to('datasets', name);
		} catch (error) {
			if (!signal.aborted) put(under, trouble(error));
		}
	}

	const over = (is) => (event) => {
		event.preventDefault();
		zone.classList.toggle('over', is);
		if (event.type === 'drop') take(event.dataTransfer.files[0]);
	};
	const zone = h('div.drop', { id: 'drop', ondragover: over(true), ondragleave: over(false), ondrop: over(false) }, h('strong', 'Drop a data file here'),
		note('CSV, TSV, JSON lines, JSON or Parquet; also compressed by gzip or zstd.'),
		h('button.main', { onclick: () => input.click() }, 'Select a file'), input, under);
	return zone;
}
