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
  hub.fault("/store", { breakAfter: BREAK_AT });
  await tab.page.evaluate(() => (document.querySelector("#model-choices").open = true));
  await tab.page.fill("#hub-name", REPO);
  await tab.page.click("#hub-open");
  const model = await tab.event("model", 120);
  assert.equal(model.name, REPO);
  assert.equal(model.parameters, 1_623_744);
  // Asked of the hub, and of the store that it sends to.
  const ranges = new Set(hub.requests.filter(({ range }) => range).map(({ range }) => range));
  assert.deepEqual([...ranges], [`bytes=${BREAK_AT}-`]);

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
  return `went on at byte ${BREAK_AT}`;
}

export const tests = [["fetches-and-keeps-a-model", fetchesAndKeeps]];
