// What typed.ts and paths.ts have in common.

/** Fails unless `what` holds; shows `shown`. */
export function assert(what: unknown, shown?: unknown): asserts what {
  if (!what) throw new Error(`not as expected: ${JSON.stringify(shown)}`);
}

/** Two clouds of points. */
export function rows(count: number) {
  return Array.from({ length: count }, (_, i) => ({
    x: (i % 2 ? 2 : -2) + ((i * 7) % 17) / 17,
    y: ((i * 11) % 17) / 17,
    label: i % 2 ? "right" : "left",
  }));
}

/** 200 of them as a file. */
export const file = ["x,y,label", ...rows(200).map((row) => `${row.x},${row.y},${row.label}`)].join("\n");

/** Waits before asking again. */
export const moment = () => new Promise((done) => setTimeout(done, 50));
