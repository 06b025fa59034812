// Pretrained encoders: which there are, and what they cost; hidden where the server has none.

import { h, num, bytes, words, ago } from './dom.js';
import { heading, card, empty, listing, copyable } from './parts.js';

export const encoders = (signal) => [heading('Encoders'), h('div.stack',
	card(null, h('p.small.mute', 'Pretrained networks that turn a text or an image into a vector. A training names one for a column; nothing is ever downloaded.'), listing('/encoders', {
		caption: 'Encoders',
		columns: [
			{ name: 'Name', cell: (one) => one.name, by: (one) => one.name },
			{ name: 'Architecture', cell: (one) => words(one.architecture), by: (one) => one.architecture },
			{ name: 'Width', cell: (one) => num(one.width), by: (one) => one.width, figure: true },
			{ name: 'Speed', cell: (one) => (one.rows_per_second ? `${num(one.rows_per_second)} rows/s` : '–'), by: (one) => one.rows_per_second, figure: true },
			{ name: 'Size', cell: (one) => bytes(one.bytes), by: (one) => one.bytes, figure: true },
			{ name: 'Licence', cell: (one) => (one.licence || one.license ? 'included' : '–') },
			{ name: 'Digest', cell: (one) => h('span.mute', one.digest ? `${one.digest.slice(0, 12)}…` : '–') },
			{ name: 'Added', cell: (one) => (one.created_at ? ago(one.created_at) : '–'), by: (one) => one.created_at },
		],
		text: (one) => `${one.name} ${one.architecture}`,
		none: empty('No encoder yet', 'Add the folder of a published model (config.json, tokenizer.json, *.safetensors):', copyable('kenyon encoders add NAME FOLDER', 'the command')),
	}, signal)))];
