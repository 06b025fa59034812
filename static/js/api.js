// The one way to the server: JSON calls, uploads with progress, and event streams, all with the key.
// The key lives in this tab's session storage and in the Authorization header, nowhere else.

const KEY = 'kenyon-key';
let asking = null;
let ask = async () => null;

/** How a key is asked for when the server wants one; answers the key or null. */
export const onKeyNeeded = (handler) => { ask = handler; };
export const key = () => sessionStorage.getItem(KEY) ?? '';
export function setKey(value) {
  if (value) sessionStorage.setItem(KEY, value);
  else sessionStorage.removeItem(KEY);
}

/** A refusal of the server, in its own words. */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail || body?.title || (status ? `The server answered ${status}.` : 'The server cannot be reached. Is it running?'));
    this.status = status;
    this.code = body?.code;
    this.details = Array.isArray(body?.details) ? body.details : [];
    this.request = body?.request_id;
  }
}

const auth = () => (key() ? { Authorization: `Bearer ${key()}` } : {});

/** One prompt for all calls that wait for a key. */
async function renewed(used) {
  if (key() !== used) return true;
  asking ??= ask(used !== '').finally(() => { asking = null; });
  const given = await asking;
  if (!given) return false;
  setKey(given);
  return true;
}

async function problem(response) {
  let body = null;
  try { body = await response.json(); } catch { /* Not every proxy answers in JSON. */ }
  return new Problem(response.status, body);
}

async function send(path, options) {
  for (;;) {
    const used = key();
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...options.headers, ...auth() }, cache: 'no-store' });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Problem(0);
    }
    if (response.status === 401 && (await renewed(used))) continue;
    return response;
  }
}

/** Calls the interface; `body` goes as JSON. Answers the parsed body, or null. */
export async function call(method, path, body, signal, headers) {
  const options = { method, signal, headers: { Accept: 'application/json', ...headers } };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers['Content-Type'] = 'application/json';
  }
  const response = await send(`/api/v1${path}`, options);
  if (!response.ok) throw await problem(response);
  if (response.status === 204) return null;
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

export const get = (path, signal) => call('GET', path, undefined, signal);
/** A GET with those of the parameters that say something. */
export function list(path, params, signal) {
  const said = Object.entries(params).filter(([, value]) => value != null && value !== '');
  return get(`${path}?${new URLSearchParams(said)}`, signal);
}
export const post = (path, body, signal) => call('POST', path, body, signal);

/** Text of an address outside the interface, such as the metrics. */
export async function text(path, signal) {
  const response = await send(path, { method: 'GET', signal, headers: {} });
  if (!response.ok) throw await problem(response);
  return response.text();
}

/** A file for the browser's download folder; through fetch, since a link cannot carry the key. */
export async function download(path, name) {
  const response = await send(`/api/v1${path}`, { method: 'GET', headers: {} });
  if (!response.ok) throw await problem(response);
  const link = document.createElement('a');
  link.href = URL.createObjectURL(await response.blob());
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** Sends a file as it is; `progress` is called with a share. XMLHttpRequest, as fetch tells no progress. */
export async function upload(path, file, progress, signal) {
  for (;;) {
    const used = key();
    const request = new XMLHttpRequest();
    const status = await new Promise((resolve) => {
      request.open('PUT', `/api/v1${path}`);
      for (const [name, value] of Object.entries(auth())) request.setRequestHeader(name, value);
      request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
      request.onload = () => resolve(request.status);
      request.onerror = request.onabort = () => resolve(0);
      signal?.addEventListener('abort', () => request.abort());
      // Without a type the server reads the format from the content itself.
      request.send(file.slice(0, file.size, ''));
    });
    if (status === 401 && (await renewed(used))) continue;
    let body = null;
    try { body = JSON.parse(request.responseText); } catch { /* An empty answer is told by its status. */ }
    if (status < 200 || status > 299) throw new Problem(status, body);
    return body;
  }
}

/** Reads server-sent events until they end. EventSource cannot carry a key, so this is fetch. */
export async function events(path, lastId, onEvent, signal) {
  const headers = { Accept: 'text/event-stream' };
  if (lastId) headers['Last-Event-ID'] = lastId;
  const response = await send(`/api/v1${path}`, { method: 'GET', signal, headers });
  if (!response.ok) throw await problem(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  let event = { type: 'message', data: '' };
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const lines = (rest + value).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (event.data) {
          let data = event.data;
          try { data = JSON.parse(data); } catch { /* A log line may be plain text. */ }
          onEvent(event.type, data, event.id);
        }
        event = { type: 'message', data: '' };
      } else if (line[0] !== ':') {
        const at = line.indexOf(':');
        const name = at < 0 ? line : line.slice(0, at);
        const content = at < 0 ? '' : line.slice(at + 1).replace(/^ /, '');
        if (name === 'event') event.type = content;
        else if (name === 'id') event.id = content;
        else if (name === 'data') event.data += (event.data ? '\n' : '') + content;
      }
    }
  }
}
