// What goes wrong: one clear message each, and nothing lost.
import assert from "node:assert/strict";
import { launch, openPage } from "./browser.mjs";
import { ready, set } from "./running.mjs";
import { serveSite } from "./site.mjs";

const file = (name, text) => ({ name, mimeType: "application/octet-stream", buffer: Buffer.from(text) });

async function wrongFiles(world) {
  const context = await world.browser.newContext();
  const tab = await ready(world, context);
  const refused = async (input, files, expected, shownIn) => {
    await tab.mark();
    await tab.page.setInputFiles(input, files);
    const { message } = await tab.event("failed", 60);
    assert.ok(message.includes(expected), `${message}, expected to say ${expected}`);
    await tab.page.waitForFunction(([id, text]) => document.querySelector(id).innerText.includes(text), [shownIn, expected]);
  };
  await refused("#data-files", file("mine.jsonl", '{"text": "fine"}\n{"txt": 1}\n'), "mine.jsonl:2", "#data-error");
  await refused("#data-files", file("mine.csv", "a,b\n1,2\n"), "mine.csv", "#data-error");
  await refused("#upload", file("mine.zip", "no zip"), "mine.zip", "#adapter-error");
  await refused("#upload", file("adapter_config.json", "{}"), "adapter", "#adapter-error");
  // Rows and adapter are those from before: it still trains.
  assert.ok(await tab.page.isEnabled("#train"));
  await refused("#model-files", file("mine.gguf", "GGUF but not much more"), "mine.gguf", "#model-error");
  assert.deepEqual(tab.complaints, []);
  await context.close();
}

async function divergence(world) {
  const context = await world.browser.newContext();
  const tab = await ready(world, context);
  await set(tab, { iters: 20, "learning-rate": "1e30", "max-grad-norm": 0, "steps-per-eval": 0, "warmup-steps": 0 });
  await tab.page.click("#train");
  const { message } = await tab.event("failed", 120);
  assert.match(message, /is not finite; training stopped with the weights of step/);
  await tab.event("idle");
  await context.close();
}

async function lostDevice(world) {
  // The page as it is, but for a worker that gives its GPU device away, so that it can be taken.
  const take = `
    const { requestDevice } = GPUAdapter.prototype;
    GPUAdapter.prototype.requestDevice = async function (...given) {
      return (self.device = await requestDevice.apply(this, given));
    };`;
  const changed = (path, body) => (path === "/worker-start.js" ? Buffer.concat([body, Buffer.from(take)]) : body);
  const site = await serveSite(world.folder, changed);
  const context = await world.browser.newContext();
  const tab = await ready(world, context, site.url);
  await set(tab, { iters: 40, "steps-per-eval": 0, "save-every": 2 });
  await tab.page.click("#train");
  await tab.until("step 5", ({ event, step }) => event === "step" && step === 5, 300);
  const [worker] = tab.page.workers();
  await worker.evaluate(() => self.device.destroy());
  await tab.page.waitForSelector("#broken:not([hidden])", { timeout: 60_000 });
  assert.match(await tab.text("broken-message"), /lost/);
  await tab.page.click("#restart");
  tab.from = (await tab.heard()).findIndex(({ type }) => type === "broken") + 1;
  const { step } = await tab.event("unfinished", 300);
  assert.ok(step >= 4, `saved at step ${step}`);
  await context.close();
  site.close();
  return `goes on from step ${step}`;
}

async function noWebGpu(world) {
  const browser = await launch({ webgpu: false });
  const tab = await openPage(await browser.newContext(), world.site.url);
  await tab.page.waitForSelector("#broken:not([hidden])", { timeout: 60_000 });
  assert.ok(await tab.page.isVisible("#broken-help"));
  const message = await tab.text("broken-message");
  await browser.close();
  return message;
}

export const tests = [
  ["wrong-files", wrongFiles],
  ["a-loss-that-is-no-number", divergence],
  ["a-lost-device", lostDevice],
  ["no-webgpu", noWebGpu],
];
