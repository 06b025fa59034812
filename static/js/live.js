// Updates: an event stream per running job, open only while the tab is visible; and polling
// for lists.

import { events, get } from './api.js';

// A browser opens six connections to a server; these leave some for the page's own calls.
const STREAMS = 3;
let streams = 0;

export const ended = (job) => ['succeeded', 'failed', 'canceled'].includes(job?.status);

// Resolves after `ms`, or when the tab is hidden or shown.
const rest = (ms) => new Promise((done) => {
	const over = AbortSignal.timeout(ms);
	over.onabort = done;
	document.addEventListener('visibilitychange', done, { once: true, signal: over });
});

// Calls `listener(type, data)` with a job's events until it has ended or `signal` aborts.
export async function watch(id, listener, signal) {
	let last = null;
	let failures = 0;
	while (!signal.aborted) {
		if (document.hidden || streams >= STREAMS) {
			await rest(2000);
			continue;
		}
		const hidden = new AbortController();
		const hide = () => hidden.abort();
		document.addEventListener('visibilitychange', hide);
		streams += 1;
		try {
			await events(`/jobs/${id}/events`, last, (type, data, number) => {
				last = number ?? last;
				failures = 0;
				if (!signal.aborted) listener(type, data);
			}, AbortSignal.any([signal, hidden.signal]));
			// The stream ended with the job, or a proxy cut it: the job's status distinguishes the two.
			const job = await get(`/jobs/${id}`, signal);
			listener('job', job);
			if (ended(job)) return;
		} catch (error) {
			if ([401, 403, 404].includes(error.status)) return;
		} finally {
			streams -= 1;
			document.removeEventListener('visibilitychange', hide);
		}
		failures += 1;
		if (!hidden.signal.aborted) await rest(Math.min(15_000, 500 * 2 ** failures));
	}
}

// Repeats `step` with `pause()` milliseconds between while the tab is visible.
export async function clock(step, pause, signal) {
	for (;;) {
		await rest(pause());
		if (signal.aborted) return;
		try { if (!document.hidden) await step(); } catch { /* The next turn tries again; the first load has shown the error. */ }
	}
}

// Runs `draw` at most once per 200 ms, and always after the last call.
export function calm(draw, signal) {
	let timer = 0;
	return () => {
		timer ||= setTimeout(() => {
			timer = 0;
			if (!signal.aborted) draw();
		}, 200);
	};
}
