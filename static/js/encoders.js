// Pretrained encoders: which there are, and what they cost; hidden where the server has none.

import { h, num, bytes, words, ago, note } from './dom.js';
import { call } from './api.js';
import { heading, card, empty, listing, copyable, act, sure, reload } from './parts.js';

export const encoders = (signal) => [heading('Encoders'), h('div.stack',
	note('Pretrained networks that turn a text into a vector. Choose one under “Read as” of a column on a dataset’s page.'),
	card(null, listing('/encoders', {
		caption: 'Encoders',
		columns: [
			{ name: 'Name', cell: (one) => one.name, by: (one) => one.name },
			{ name: 'Architecture', cell: (one) => words(one.architecture), by: (one) => one.architecture },
			{ name: 'Width', cell: (one) => num(one.width), by: (one) => one.width, figure: true },
			{ name: 'Speed', cell: (one) => `${num(one.rows_per_second)} rows/s`, by: (one) => one.rows_per_second, figure: true },
			{ name: 'Size', cell: (one) => bytes(one.bytes), by: (one) => one.bytes, figure: true },
			{ name: 'Licence', cell: (one) => one.license ?? '–' },
			{ name: 'Digest', cell: (one) => h('span.mute', `${one.digest.slice(0, 12)}…`) },
			{ name: 'Added', cell: (one) => ago(one.created_at), by: (one) => one.created_at },
			{ name: 'Action', cell: (one) => act('Delete', async () => {
				if (!(await sure(`Delete ${one.name}?`, 'An encoder that a model uses is not deleted.', 'Delete'))) return;
				await call('DELETE', `/encoders/${one.name}`);
				reload();
			}, 'button.slim', { label: `Delete ${one.name}` }) },
		],
		text: (one) => `${one.name} ${one.architecture}`,
		none: empty('No encoder yet', 'Add the folder of a published model (config.json, tokenizer.json, *.safetensors):', copyable('kenyon encoders add NAME FOLDER', 'the command')),
	}, signal)))];
