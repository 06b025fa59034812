// The shell: which page is shown, theme, key. A page is a function of the address that answers a node
// at once and fills it as answers come; leaving a page aborts everything it started.

import { h, put } from './dom.js';
import { key, setKey, onKeyNeeded } from './api.js';
import { askKey, trouble, toast } from './parts.js';
import { overview } from './overview.js';
import { jobs, job } from './jobs.js';

// The heavier pages are fetched when they are first wanted.
const models = () => import('./models.js');
const datasets = () => import('./datasets.js');

const ROUTES = [
  [/^\/?$/, overview, 'Overview'],
  [/^\/models$/, (...a) => models().then((m) => m.models(...a)), 'Models'],
  [/^\/models\/([^/]+)(?:\/([a-z]+))?$/, (...a) => models().then((m) => m.model(...a)), 'Model'],
  [/^\/datasets$/, (...a) => datasets().then((m) => m.datasets(...a)), 'Datasets'],
  [/^\/datasets\/([^/]+)(?:\/([a-z]+))?$/, (...a) => datasets().then((m) => m.dataset(...a)), 'Dataset'],
  [/^\/jobs$/, jobs, 'Jobs'],
  [/^\/jobs\/([^/]+)$/, job, 'Job'],
];

const main = document.getElementById('main');
let leave = new AbortController();
let first = true;

async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const path = location.hash.slice(1) || '/';
  const [plain] = path.split('?');
  const route = ROUTES.find(([pattern]) => pattern.test(plain));
  for (const link of document.querySelectorAll('#nav a')) {
    const target = link.hash.slice(1);
    const here = target === '/' ? plain === '/' : plain.startsWith(target);
    if (here) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (!route) {
    put(main, h('h1', { tabindex: '-1' }, 'There is no such page'), h('p', 'Perhaps the link is old. ', h('a', { href: '#/' }, 'Go to the overview'), '.'));
    return;
  }
  const [pattern, page, name] = route;
  // Names need no escapes, so the parts go into the server's paths as they stand in the address.
  const parts = pattern.exec(plain).slice(1);
  document.title = `${parts[0] ?? name} · Kenyon`;
  try {
    const node = await page(signal, ...parts);
    if (signal.aborted) return;
    put(main, node);
  } catch (error) {
    if (signal.aborted) return;
    put(main, h('h1', { tabindex: '-1' }, name), trouble(error));
  }
  main.querySelector('.tabs [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
  // A screen reader hears the new page's title; on the first load the browser does that itself.
  if (!first) main.querySelector('h1')?.focus({ preventScroll: true });
  if (!first) scrollTo(0, 0);
  first = false;
}

const icon = (path) => {
  const ns = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(ns, 'svg');
  for (const [name, value] of Object.entries({ width: 18, height: 18, viewBox: '0 0 24 24', fill: 'none', stroke: 'currentColor', 'stroke-width': 1.8, 'stroke-linecap': 'round', 'stroke-linejoin': 'round', 'aria-hidden': 'true' })) svg.setAttribute(name, value);
  const line = document.createElementNS(ns, 'path');
  line.setAttribute('d', path);
  svg.append(line);
  return svg;
};

const themeButton = document.getElementById('theme');
const dark = () => (document.documentElement.dataset.theme ?? (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light')) === 'dark';
function drawTheme() {
  themeButton.setAttribute('aria-label', dark() ? 'Switch to the light theme' : 'Switch to the dark theme');
  put(themeButton, icon(dark() ? 'M12 3v2m0 14v2M5.6 5.6 7 7m10 10 1.4 1.4M3 12h2m14 0h2M5.6 18.4 7 17M17 7l1.4-1.4M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0' : 'M20 14.5A8.5 8.5 0 0 1 9.5 4a8.5 8.5 0 1 0 10.5 10.5z'));
}
themeButton.addEventListener('click', () => {
  document.documentElement.dataset.theme = dark() ? 'light' : 'dark';
  try { localStorage.setItem('kenyon-theme', document.documentElement.dataset.theme); } catch { /* Then it holds for this page only. */ }
  drawTheme();
});
matchMedia('(prefers-color-scheme: dark)').addEventListener('change', drawTheme);
drawTheme();

const keyButton = document.getElementById('key');
function drawKey() {
  put(keyButton, icon('M15.5 8.5a4 4 0 1 1-3.2-3.9 4 4 0 0 1 3.2 3.9M14.3 11.3 20 17v3h-3v-2h-2v-2l-2.6-2.6'));
  keyButton.classList.toggle('on', key() !== '');
  keyButton.setAttribute('aria-label', key() ? 'API key: set. Forget it' : 'API key: none. Enter one');
  keyButton.title = key() ? 'Forget the API key' : 'Enter an API key';
}
keyButton.addEventListener('click', async () => {
  if (key()) {
    setKey('');
    toast('The key is forgotten.');
  } else {
    const given = await askKey(false);
    if (given) { setKey(given); show(); }
  }
  drawKey();
});
onKeyNeeded(async (refused) => {
  const given = await askKey(refused);
  setTimeout(drawKey);
  return given;
});
drawKey();

// The hash holds the address, so skipping to the content must not change it.
document.getElementById('skip').addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', show);
show();
