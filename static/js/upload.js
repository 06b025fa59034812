// Drag and drop, or a file button: a file becomes a dataset.

import { h, put, to, bytes, field, percent, num } from './dom.js';
import { upload } from './api.js';
import { meter, trouble, toast } from './parts.js';

/** A dataset's name made from a file's: `Iris (1).csv.gz` → `iris_1`. */
export const nameOf = (file) => file.replace(/(\.(csv|tsv|jsonl?|ndjson|parquet|txt|gz|zst))+$/i, '').toLowerCase()
  .replace(/[^a-z0-9_-]+/g, '_').replace(/^[^a-z0-9]+|_+$/g, '').slice(0, 63) || 'data';

/** Where a file may be dropped. Goes to the dataset's page when it is stored. */
export function dropZone(signal) {
  const input = h('input', { type: 'file', class: 'sr', tabindex: '-1', 'aria-label': 'File to upload', accept: '.csv,.tsv,.json,.jsonl,.ndjson,.parquet,.gz,.zst,.txt' });
  const choose = h('button', { type: 'button', class: 'main', onclick: () => input.click() }, 'Choose a file');
  const under = h('div.stack.tight');
  const zone = h('div.drop', { id: 'drop' }, h('strong', 'Drop a data file here'),
    h('p.mute.small', 'CSV, TSV, JSON lines, JSON or Parquet; gzip and zstd are read as they are.'), choose, input, under);

  const take = (file) => {
    if (!file) return;
    const name = h('input', { value: nameOf(file.name), pattern: '[a-z0-9][a-z0-9_\\-]{0,62}', required: true, spellcheck: 'false', title: 'Lower-case letters, digits, _ and -' });
    const form = h('form.row', { onsubmit: (event) => { event.preventDefault(); send(file, name.value); } },
      field(`Name for ${file.name} (${bytes(file.size)})`, name), h('button.main', 'Upload'));
    put(under, form);
    name.focus();
    name.select();
  };

  async function send(file, name) {
    const bar = meter(`Uploading ${name}`);
    const text = h('p.mute.small', 'Sending…');
    put(under, bar.node, text);
    try {
      const made = await upload(`/datasets/${name}`, file, (share) => {
        bar.set(share);
        put(text, share < 1 ? `Sent ${percent(share, 0)}` : 'Sent. Reading the columns…');
      }, signal);
      toast(`${name}: ${num(made?.rows)} rows stored.`);
      if (!signal.aborted) location.hash = to('datasets', name);
    } catch (error) {
      if (!signal.aborted) put(under, trouble(error));
    }
  }

  input.addEventListener('change', () => take(input.files[0]));
  let depth = 0;
  const over = (change) => { depth = Math.max(0, depth + change); zone.classList.toggle('over', depth > 0); };
  zone.addEventListener('dragenter', (event) => { event.preventDefault(); over(1); });
  zone.addEventListener('dragleave', () => over(-1));
  zone.addEventListener('dragover', (event) => event.preventDefault());
  zone.addEventListener('drop', (event) => { event.preventDefault(); over(-9); take(event.dataTransfer.files[0]); });
  return zone;
}
