// Models from a hub that breaks off, kept in the browser.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { REPO, startHub } from "./hub.mjs";
import { ready, set } from "./running.mjs";

const FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
const BREAK_AT = 1_000_000;

/** A page that is ready, a hub that it fetches from, slowly, and the hub's model in the form. */
async function openOnHub(world) {
  const file = (name) => [name, readFileSync(join(world.root, "web/demo/model", name))];
  const hub = await startHub(Object.fromEntries(FILES.map(file)));
  hub.pace = 10; // else all of it is on its way at once
  const context = await world.browser.newContext();
  const tab = await ready(world, context, `${world.site.url}?hub=${encodeURIComponent(hub.url)}`);
  await tab.page.evaluate(() => (document.querySelector("#model-choices").open = true));
  await tab.page.fill("#hub-name", REPO);
  return { hub, context, tab };
}

async function fetchesAndKeeps(world) {
  const { hub, context, tab } = await openOnHub(world);
  hub.fault("/store", { breakAfter: BREAK_AT });
  await tab.page.click("#hub-open");
  const model = await tab.event("model", 120);
  assert.equal(model.name, REPO);
  assert.equal(model.parameters, 1_623_744);
  // Asked of the hub, and of the store that it sends to. What was on its way when the connection broke may be lost.
  const resumed = hub.requests.filter(({ range }) => range);
  const [range, ...others] = new Set(resumed.map(({ range }) => range));
  assert.deepEqual(others, []);
  const from = Number(/^bytes=(\d+)-$/.exec(range)?.[1]);
  assert.ok(from > 0 && from <= BREAK_AT, `went on at ${range}`);
  assert.equal(resumed.at(-1).sent, hub.files["model.safetensors"].length - from);

  // A second visit needs no network.
  const asked = hub.requests.length;
  hub.close();
  await tab.page.reload();
  tab.from = 0;
  const stored = await tab.until("the stored model", ({ type, models }) => type === "stored" && models.length > 0, 300);
  assert.deepEqual(stored.models.map(({ name, is_complete }) => [name, is_complete]), [[REPO, true]]);
  await tab.event("data", 120);
  await tab.page.evaluate(() => (document.querySelector("#model-choices").open = true));
  await tab.page.locator("#stored button").first().click();
  const again = await tab.event("model", 120);
  assert.equal(again.name, REPO);
  assert.equal(hub.requests.length, asked);
  await context.close();
  return `went on at byte ${from}`;
}

/** A download is cancelled, and goes on when it is asked for again. */
async function cancels(world) {
  const { hub, context, tab } = await openOnHub(world);
  await tab.page.click("#hub-open");
  await tab.until("a part of it", ({ type, done }) => type === "progress" && done > BREAK_AT, 60);
  await tab.page.click("#cancel-open");
  const { request, message } = await tab.event("failed", 60);
  assert.equal(request, "open_model");
  assert.match(message, /stopped; what has arrived is kept/);
  assert.equal(await tab.text("model-error"), message);
  const before = hub.requests.length;
  hub.pace = 0;
  await tab.page.click("#hub-open");
  const model = await tab.event("model", 120);
  assert.equal(model.name, REPO);
  const ranges = hub.requests.slice(before).filter(({ range }) => range);
  assert.ok(ranges.length > 0 && ranges.every(({ range }) => range !== "bytes=0-"), JSON.stringify(ranges));
  await context.close();
  hub.close();
}

/** Files from the disk are kept: a run on them goes on after a reload. */
async function keepsFiles(world) {
  const context = await world.browser.newContext();
  const tab = await ready(world, context);
  await tab.mark();
  await tab.page.setInputFiles("#model-files", FILES.map((name) => join(world.root, "web/demo/model", name)));
  const { name, not_kept: notKept } = await tab.event("model", 120);
  assert.deepEqual([name, notKept], ["model.safetensors", null]);
  const stored = await tab.event("stored", 60);
  assert.deepEqual(stored.models.map(({ name, is_complete }) => [name, is_complete]), [[name, true]]);
  await tab.event("data", 60);
  await set(tab, { iters: 10, "steps-per-eval": 0, "save-every": 2, prompts: "" });
  await tab.page.click("#train");
  await tab.until("step 5", ({ event, step }) => event === "step" && step === 5, 120);
  await tab.page.reload();
  tab.from = 0;
  const unfinished = await tab.event("unfinished", 300);
  assert.deepEqual(unfinished.model, { from: "stored", name });
  await tab.event("data", 120);
  await tab.page.click("#continue");
  await tab.until("the last step", ({ event, step }) => event === "step" && step === 10, 120);
  await tab.event("idle", 60);
  assert.deepEqual(tab.complaints, []);
  await context.close();
}

export const tests = [
  ["fetches-and-keeps-a-model", fetchesAndKeeps],
  ["a-cancelled-download", cancels],
  ["keeps-picked-files", keepsFiles],
];
