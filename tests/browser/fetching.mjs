// Models from a hub that breaks off, kept in the browser.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { openPage } from "./browser.mjs";
import { REPO, startHub } from "./hub.mjs";

const FILES = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
const BREAK_AT = 1_000_000;

async function fetchesAndKeeps(world) {
  const file = (name) => [name, readFileSync(join(world.root, "web/demo/model", name))];
  const hub = await startHub(Object.fromEntries(FILES.map(file)));
  const context = await world.browser.newContext();
  const url = `${world.site.url}?hub=${encodeURIComponent(hub.url)}`;
  const tab = await openPage(context, url);
  await tab.event("data", 300);
  hub.pace = 10; // else all of it is on its way at once
  hub.fault("/store", { breakAfter: BREAK_AT });
  await tab.page.evaluate(() => (document.querySelector("#model-choices").open = true));
  await tab.page.fill("#hub-name", REPO);
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

export const tests = [["fetches-and-keeps-a-model", fetchesAndKeeps]];
