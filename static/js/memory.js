// What a model remembers, and how it forgets.

import { h, num, select, cell } from './dom.js';
import { post, call } from './api.js';
import { card, empty, paged, act, attempt, toast, sure, filters, rowText } from './parts.js';
import { features } from './forms.js';

export function memoryTab({ it, path, signal }) {
	const columns = features(it);
	const label = h('input', { type: 'search', placeholder: 'label', label: 'Only this label' });
	const column = select([it.target, ...columns.map((f) => f.name)], it.target, { label: 'Column' });
	const value = h('input', { label: 'Value', placeholder: 'value', required: true });
	filters({ label }, () => pages.restart());
	const pages = paged(`${path}/memory`, ['Memories', ['Label', 'Row', '#Used', 'Action'], (m) => [cell(m.label ?? m.value), rowText(m.row, it.target), num(m.uses),
		act('Forget', async () => {
			if (!(await sure('Forget this entry?', 'The stored row is deleted. It cannot be brought back.', 'Forget'))) return;
			await call('DELETE', `${path}/memory/${encodeURIComponent(m.id)}`);
			toast('Entry deleted.');
			pages.refresh();
		}, 'button.slim.danger', { label: `Forget memory ${m.id}` })]],
	empty('The memory is empty', 'The memory and hybrid families store single rows, from training and from observations.'),
	signal, () => ({ limit: 25, label: label.value.trim() }));
	const forget = async () => {
		if (!(await sure('Forget these entries?', `Every memory entry whose ${column.value} is “${value.value}” is deleted.`, 'Forget'))) return;
		const number = columns.find((f) => f.name === column.value)?.kind === 'number';
		const made = await post(`${path}/forget`, { where: { [column.value]: number ? Number(value.value) : value.value } });
		toast(`${num(made?.forgotten)} entries deleted.`);
		pages.restart();
	};
	return h('div.stack',
		card(null, h('div.row.between', h('h2', 'Memory entries'), label), pages.node),
		card('Forget matching entries', h('form.row', { submit: () => attempt(forget) },
			column, h('span.mute', 'is'), value, h('button.danger', 'Forget'))));
}
