// Router, theme and API key. A page is a function of the address that returns a node
// at once and fills it as responses arrive; leaving a page aborts its requests.

import { s, put, go } from './dom.js';
import { key, setKey, onKeyNeeded, get } from './api.js';
import { askKey, failure, toast } from './parts.js';
import { overview } from './overview.js';
import { jobs, job } from './jobs.js';

// The heavier pages are loaded on first use.
const models = (name) => async (...all) => (await import('./models.js'))[name](...all);
const datasets = (name) => async (...all) => (await import('./datasets.js'))[name](...all);
const encoders = async (...all) => (await import('./encoders.js')).encoders(...all);
const comparisons = async (...all) => (await import('../comparisons/page.js')).comparisons(...all);

const ROUTES = [
	[/^\/?$/, overview, 'Overview'],
	[/^\/models$/, models('models'), 'Models'],
	[/^\/models\/([^/]+)(?:\/([a-z]+))?$/, models('model'), 'Model'],
	[/^\/datasets$/, datasets('datasets'), 'Datasets'],
	[/^\/datasets\/([^/]+)$/, datasets('dataset'), 'Dataset'],
	[/^\/encoders$/, encoders, 'Encoders'],
	[/^\/comparisons(?:\/([^/]+))?$/, comparisons, 'Comparisons'],
	[/^\/jobs$/, jobs, 'Jobs'],
	[/^\/jobs\/([^/]+)$/, job, 'Job'],
	[/^/, () => failure('Page not found', new Error('The address is none of this dashboard.')), 'Page not found'],
];

const main = document.getElementById('main');
let leave = new AbortController();
let first = true;

async function show() {
	leave.abort();
	leave = new AbortController();
	const { signal } = leave;
	const [path] = (location.hash.slice(1) || '/').split('?');
	const [pattern, page, name] = ROUTES.find(([one]) => one.test(path));
	for (const link of document.querySelectorAll('#nav a')) {
		const target = link.hash.slice(1);
		link.ariaCurrent = (target === '/' ? path === '/' : path.startsWith(target)) ? 'page' : null;
	}
	// Names need no escapes, so the parts go into the server's paths unchanged.
	const parts = pattern.exec(path).slice(1);
	document.title = `${parts[0] ?? name} · Kenyon`;
	let node;
	try {
		node = await page(signal, ...parts);
	} catch (error) {
		const list = path.split('/')[1];
		node = failure(error.status === 404 ? `${name} not found` : name, error, error.name !== 'AbortError' && parts[0] ? go(`All ${list}`, list) : null);
	}
	if (signal.aborted) return;
	put(main, node);
	main.querySelector('.tabs [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
	// A screen reader reads the new page's title; at first the browser does that.
	if (!first) {
		main.querySelector('h1')?.focus({ preventScroll: true });
		scrollTo(0, 0);
	}
	first = false;
}

function sign(button, label, d) {
	button.title = label;
	button.setAttribute('aria-label', label);
	put(button, s('svg', { viewBox: '0 0 24 24', 'aria-hidden': 'true' }, s('path', { d })));
}

const themeButton = document.getElementById('theme');
const preferred = matchMedia('(prefers-color-scheme: dark)');
const dark = () => (document.documentElement.dataset.theme ?? (preferred.matches ? 'dark' : 'light')) === 'dark';
const drawTheme = () => sign(themeButton, `Switch to the ${dark() ? 'light' : 'dark'} theme`, 'M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z');
themeButton.onclick = () => {
	const next = dark() ? 'light' : 'dark';
	document.documentElement.dataset.theme = next;
	try { localStorage.setItem('kenyon-theme', next); } catch { /* Then it applies to this page only. */ }
	drawTheme();
};
preferred.onchange = drawTheme;
drawTheme();

const keyButton = document.getElementById('key');
function drawKey() {
	keyButton.classList.toggle('on', key() !== '');
	sign(keyButton, key() ? 'Remove the API key' : 'Enter an API key', 'M11 11a4.5 4.5 0 1 1 2 2l-2 2v2H9v2H7v2H4v-3z M16.5 7.5h.01');
}
keyButton.onclick = async () => {
	const had = key() !== '';
	const given = had ? '' : await askKey(false);
	if (had) toast('The key was removed.');
	if (given !== null) setKey(given);
	if (given) show();
	drawKey();
};
onKeyNeeded(async (refused) => {
	const given = await askKey(refused);
	setTimeout(drawKey);
	return given;
});
drawKey();

// The hash holds the address, so skipping to the content must not change it.
document.getElementById('skip').onclick = (event) => {
	event.preventDefault();
	main.focus();
};
addEventListener('hashchange', show);
show();

// The page of encoders is offered where the server has them.
get('/encoders').then(() => document.querySelector('#nav [hidden]')?.removeAttribute('hidden'), () => {});
