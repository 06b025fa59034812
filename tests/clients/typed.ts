// From a file to answers by the client that openapi-generator (typescript-fetch) makes of the document.
//
// usage: typed.ts URL KEY, with the generated folder `kenyon_client` beside.

import { assert, file, moment, rows } from "./clouds.ts";
import { Configuration, DatasetsApi, JobsApi, ModelsApi, ResponseError } from "./kenyon_client/index.ts";
import type { Job, Problem, TrainAnswer, TrainRequest } from "./kenyon_client/index.ts";

async function main(basePath: string, accessToken: string) {
  const configuration = new Configuration({ basePath, accessToken });
  const datasets = new DatasetsApi(configuration);
  const models = new ModelsApi(configuration);
  const jobs = new JobsApi(configuration);

  // The generated call sends the first kind of body that the document names, JSON; another one is put in its place.
  const csv = { headers: { Authorization: `Bearer ${accessToken}`, "Content-Type": "text/csv" }, body: new Blob([file]) };
  const stored = await datasets.putDataset({ name: "clouds", request_body: [] }, csv);
  assert(stored.rows === 200 && stored.columns[0].kind === "number", stored);
  const again = await datasets.putDataset({ name: "clouds_again", request_body: rows(200) });
  assert(again.rows === 200 && again.columns.length === 3, again);

  const asked: TrainRequest = { dataset: "clouds", target: "label", seed: 1 };
  const train = (TrainRequest: TrainRequest): Promise<TrainAnswer> => models.train({ name: "m", TrainRequest });
  const plan = await train({ ...asked, dry_run: true });
  assert("split" in plan && plan.task === "classification" && plan.split.training > 0, plan);
  const ended = async (job: TrainAnswer): Promise<Job> => {
    assert("status" in job, job);
    while (job.status === "queued" || job.status === "running") {
      await moment();
      job = await jobs.getJob({ id: job.id });
    }
    assert(job.status === "succeeded", job);
    return job;
  };
  assert((await ended(await train(asked))).served);
  const model = await models.getModel({ name: "m" });
  assert(model.version === 1 && model.versions?.[0].metrics["accuracy"], model);

  const PredictRequest = { rows: [{ x: 2, y: 0.5 }], coverage: 0.9, explain: true };
  const { predictions: [first] } = await models.predict({ name: "m", PredictRequest });
  assert(first.label === "right" && first.set?.includes("right") && first.verdict !== undefined, first);
  assert(first.explanation?.features[0].weight, first);

  const taught = await models.observe({ name: "m", ObserveRequest: { rows: rows(10) } });
  assert(taught.observed === 10 && taught.prequential.rows === 10, taught);

  const batch = await models.predictBatch({ name: "m", BatchRequest: { dataset: "clouds", format: "csv" } });
  const output = await jobs.jobOutput({ id: (await ended(batch)).id });
  assert(output.trimEnd().split("\n").length === 201, output.slice(0, 200));

  const failed: unknown = await models.getModel({ name: "none" }).catch((error: unknown) => error);
  assert(failed instanceof ResponseError, failed);
  const problem: Problem = await failed.response.json();
  assert(problem.code === "model_not_found", problem);
  console.log("ok   the client of openapi-generator, end to end");
}

await main(Deno.args[0], Deno.args[1]);
