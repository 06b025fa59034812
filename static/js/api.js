// JSON calls, uploads with progress, and event streams, all with the key.
// The key is in this tab's session storage and in the Authorization header only.

const KEY = 'kenyon-key';
let prompting = null;
let promptForKey = async () => null;

export const onKeyNeeded = (handler) => { promptForKey = handler; };
export const key = () => sessionStorage.getItem(KEY) ?? '';
export const setKey = (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY));

export class Problem extends Error {
	constructor(status, text) {
		let body;
		try { body = JSON.parse(text); } catch { /* Not every proxy answers in JSON. */ }
		super(body?.detail || body?.title || (status ? `The server answered ${status}.` : 'The server cannot be reached. Is it running?'));
		this.status = status;
		this.code = body?.code;
		this.details = body?.details ?? [];
	}
}

const auth = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

// One prompt for all calls that wait for a key; whether there is another key now.
async function renewed(used) {
	if (key() !== used) return true;
	prompting ??= promptForKey(used !== '').finally(() => { prompting = null; });
	const given = await prompting;
	if (given) setKey(given);
	return Boolean(given);
}

async function send(path, options = {}) {
	for (;;) {
		const used = key();
		let response;
		try {
			response = await fetch(path, { ...options, headers: { ...options.headers, ...auth() }, cache: 'no-store' });
		} catch (error) {
			throw error.name === 'AbortError' ? error : new Problem(0);
		}
		if (response.ok) return response;
		if (response.status !== 401 || !(await renewed(used))) throw new Problem(response.status, await response.text());
	}
}

// Calls the interface with JSON.
export async function call(method, path, body, signal) {
	const json = body === undefined ? {} : { body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } };
	const text = await (await send(`/api/v1${path}`, { method, signal, ...json })).text();
	return text ? JSON.parse(text) : null;
}

export const get = (path, signal) => call('GET', path, undefined, signal);
export const post = (path, body, signal) => call('POST', path, body, signal);

// A GET with the parameters that are not empty.
export const list = (path, params, signal) =>
	get(`${path}?${new URLSearchParams(Object.entries(params).filter(([, value]) => value != null && value !== ''))}`, signal);

// The body of a GET as a file of the browser's downloads.
export async function download(path, name) {
	const url = URL.createObjectURL(await (await send(`/api/v1${path}`)).blob());
	const link = Object.assign(document.createElement('a'), { href: url, download: name });
	link.click();
	setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export const text = async (path, signal) => (await send(path, { signal })).text();

// Sends a file as it is. XMLHttpRequest, as fetch reports no progress.
export async function upload(path, file, progress, signal) {
	for (;;) {
		const used = key();
		const request = new XMLHttpRequest();
		await new Promise((done) => {
			request.open('PUT', `/api/v1${path}`);
			for (const header of Object.entries(auth())) request.setRequestHeader(...header);
			request.upload.onprogress = (event) => progress(event.loaded / (event.total || 1));
			request.onloadend = done;
			signal.addEventListener('abort', () => request.abort());
			// Without a type the server reads the format from the content itself.
			request.send(file.slice(0, file.size, ''));
		});
		const { status, responseText } = request;
		if (status >= 200 && status < 300) return JSON.parse(responseText);
		if (status !== 401 || !(await renewed(used))) throw new Problem(status, responseText);
	}
}

// Reads server-sent events until they end. EventSource cannot carry a key, so this is fetch.
export async function events(path, lastId, onEvent, signal) {
	const headers = lastId ? { 'Last-Event-ID': lastId } : {};
	const response = await send(`/api/v1${path}`, { signal, headers });
	const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
	let rest = '';
	for (;;) {
		const { value, done } = (await reader?.read()) ?? { done: true };
		if (done) return;
		const whole = (rest + value).split('\n\n');
		rest = whole.pop();
		for (const block of whole) {
			const fields = Object.fromEntries(block.split('\n').map((line) => /^(\w*): ?(.*)$/.exec(line)?.slice(1) ?? []));
			if (fields.data) onEvent(fields.event, JSON.parse(fields.data), fields.id);
		}
	}
}
