// From a file to answers by the types that openapi-typescript makes of the document and its client, openapi-fetch.
//
// usage: paths.ts URL KEY, with the generated `schema.d.ts` beside.

import createClient from "openapi-fetch";
import { assert, file, moment, rows } from "./clouds.ts";
import type { components, paths } from "./schema.d.ts";

type Job = components["schemas"]["Job"];

async function main(baseUrl: string, key: string) {
  const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });
  const model = { params: { path: { name: "p" } } };
  const name = { params: { path: { name: "clouds" } } };

  const csv = { headers: { "Content-Type": "text/csv" }, bodySerializer: (body: unknown) => String(body), body: file };
  const stored = await client.PUT("/api/v1/datasets/{name}", { ...name, ...csv });
  assert(stored.data?.rows === 200 && stored.data.columns[0].kind === "number", stored.error);

  const asked = { dataset: "clouds", target: "label", seed: 1 };
  const dry = await client.POST("/api/v1/models/{name}/train", { ...model, body: { ...asked, dry_run: true } });
  assert(dry.data && "split" in dry.data && dry.data.task === "classification" && dry.data.split.training > 0, dry.error);
  const trained = await client.POST("/api/v1/models/{name}/train", { ...model, body: asked });
  assert(trained.data && "status" in trained.data, trained.error);
  const ended = async (job: Job): Promise<Job> => {
    while (job.status === "queued" || job.status === "running") {
      await moment();
      const looked = await client.GET("/api/v1/jobs/{id}", { params: { path: { id: job.id } } });
      assert(looked.data, looked.error);
      job = looked.data;
    }
    assert(job.status === "succeeded", job);
    return job;
  };
  assert((await ended(trained.data)).served);
  const read = await client.GET("/api/v1/models/{name}", model);
  assert(read.data?.version === 1 && read.data.versions?.[0].metrics.accuracy, read.error);

  const body = { rows: [{ x: 2, y: 0.5 }], coverage: 0.9, explain: true };
  const answer = await client.POST("/api/v1/models/{name}/predict", { ...model, body });
  assert(typeof answer.data === "object" && "predictions" in answer.data, answer.error);
  const first = answer.data.predictions[0];
  assert(first.label === "right" && first.set?.includes("right") && first.verdict !== undefined, first);
  assert(first.explanation?.features[0].weight, first);

  const taught = await client.POST("/api/v1/models/{name}/observe", { ...model, body: { rows: rows(10) } });
  assert(taught.data && "observed" in taught.data && taught.data.observed === 10, taught.error);

  const wanted = { ...model, body: { dataset: "clouds", format: "csv" as const } };
  const batch = await client.POST("/api/v1/models/{name}/predict/batch", wanted);
  assert(batch.data, batch.error);
  const { id } = await ended(batch.data);
  const output = await client.GET("/api/v1/jobs/{id}/output", { params: { path: { id } }, parseAs: "text" });
  assert(output.data?.trimEnd().split("\n").length === 201, output.error);

  const missing = await client.GET("/api/v1/models/{name}", { params: { path: { name: "none" } } });
  assert(missing.error?.code === "model_not_found", missing);
  console.log("ok   the types of openapi-typescript, end to end");
}

await main(Deno.args[0], Deno.args[1]);
