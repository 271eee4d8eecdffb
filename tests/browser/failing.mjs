// What goes wrong: one clear message each, and nothing lost.
import assert from "node:assert/strict";
import { launch, openPage } from "./browser.mjs";
import { ready, set } from "./running.mjs";
import { serveWithWorker } from "./site.mjs";

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
  // And so is the model.
  await set(tab, { iters: 1, "steps-per-eval": 0, prompts: "" });
  await tab.page.click("#train");
  await tab.until("a step", ({ event }) => event === "step", 120);
  await tab.event("idle", 60);
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
  const site = await serveWithWorker(world.folder, take);
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

/** Lets this page's storage hold no more than `bytes`; all of it again with none. */
async function quota(tab, bytes) {
  const { origin } = new URL(tab.page.url());
  const session = await tab.page.context().newCDPSession(tab.page);
  await session.send("Storage.overrideQuotaForOrigin", bytes === undefined ? { origin } : { origin, quotaSize: bytes });
}

async function fullStorage(world) {
  const context = await world.browser.newContext();
  const tab = await ready(world, context);
  await set(tab, { iters: 6, "steps-per-eval": 0, "save-every": 2, prompts: "" });
  await quota(tab, 1000);
  await tab.page.click("#train");
  const { message } = await tab.until("a warning", ({ event }) => event === "warning", 120);
  assert.match(message, /storage is full: .* Training goes on/);
  await tab.page.waitForSelector("#train-warnings li");
  await tab.until("step 3", ({ event, step }) => event === "step" && step === 3, 120);
  await quota(tab); // someone made room
  await tab.until("a save", ({ event }) => event === "checkpoint", 120);
  const { has_adapter: hasAdapter } = await tab.event("idle", 120);
  assert.ok(hasAdapter);
  const warnings = (await tab.heard()).filter(({ event }) => event === "warning");
  assert.equal(warnings.length, 1, JSON.stringify(warnings));
  await context.close();
  return message;
}

async function secondTab(world) {
  const context = await world.browser.newContext();
  const [first, second] = [await ready(world, context), await ready(world, context)];
  await set(first, { iters: 60, "steps-per-eval": 0, prompts: "" });
  await first.page.click("#train");
  await first.until("step 2", ({ event, step }) => event === "step" && step === 2, 120);
  await second.mark();
  await second.page.click("#train");
  const { message } = await second.event("failed", 60);
  assert.match(message, /another tab .* is training/);
  await second.page.waitForFunction(() => document.querySelector("#train-error").innerText.includes("another tab"));
  // What the first one does goes on, and its saves are its own.
  await first.until("step 4", ({ event, step }) => event === "step" && step === 4, 120);
  await first.page.click("#stop");
  await first.event("idle", 60);
  await second.mark();
  await second.page.click("#train");
  await second.until("step 1", ({ event }) => event === "step", 120);
  await context.close();
}

async function sleepingTab(world) {
  const context = await world.browser.newContext();
  const tab = await ready(world, context);
  await set(tab, { iters: 8, "steps-per-eval": 0, "save-every": 0, prompts: "" });
  await tab.page.click("#train");
  await tab.until("step 2", ({ event, step }) => event === "step" && step === 2, 120);
  const session = await context.newCDPSession(tab.page);
  await tab.mark();
  // As the browser does it: hidden first, then frozen.
  await tab.page.evaluate(() => {
    Object.defineProperty(document, "hidden", { value: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });
  await session.send("Page.setWebLifecycleState", { state: "frozen" });
  await tab.page.waitForTimeout(3000);
  await session.send("Page.setWebLifecycleState", { state: "active" });
  await tab.event("idle", 120);
  const events = await tab.heard();
  const steps = events.filter(({ event }) => event === "step").map(({ step }) => step);
  assert.deepEqual(steps, [1, 2, 3, 4, 5, 6, 7, 8]);
  const saved = events.filter(({ event }) => event === "checkpoint").map(({ step }) => step);
  assert.ok(saved.length === 2 && saved[0] < 8, `saved at ${saved}, not when it was put to sleep`);
  assert.deepEqual(tab.complaints, []);
  await context.close();
  return `saved at steps ${saved.join(" and ")}`;
}

/** The page on a GPU that says that it binds `bytes` at most. */
function serveWithLimit(world, bytes) {
  const limited = `
    const limits = Object.getOwnPropertyDescriptor(GPUDevice.prototype, "limits").get;
    Object.defineProperty(GPUDevice.prototype, "limits", { get() {
      return new Proxy(limits.call(this), {
        get: (all, name) => (name === "maxStorageBufferBindingSize" ? ${bytes} : Reflect.get(all, name, all)),
      });
    } });`;
  return serveWithWorker(world.folder, limited);
}

/** Where the embedding alone is more than the GPU binds, it is held in parts; nothing else changes. */
async function heldInParts(world) {
  const run = async (site) => {
    const context = await world.browser.newContext();
    const tab = await ready(world, context, site.url);
    await set(tab, { iters: 3, "batch-size": 1, "steps-per-eval": 0, prompts: "" });
    await tab.page.click("#train");
    await tab.event("idle", 60);
    assert.deepEqual(tab.complaints, []);
    const losses = [...(await tab.losses()).values()];
    await context.close();
    return losses;
  };
  const site = await serveWithLimit(world, 700_000);
  const [parts, whole] = [await run(site), await run(world.site)];
  site.close();
  assert.equal(parts.length, 3);
  const off = Math.max(...parts.map((loss, step) => Math.abs(loss - whole[step])));
  assert.ok(off < 1e-4, `losses differ from those of a whole embedding by ${off}`);
  return `three losses, off by ${off.toExponential(1)} at most`;
}

/** A batch that is more than the GPU binds is refused, with one that it takes, which then trains. */
async function tooLargeABatch(world) {
  const site = await serveWithLimit(world, 600_000);
  const context = await world.browser.newContext();
  const tab = await ready(world, context, site.url);
  const expected = /demo: .* of 8 rows x \d+ tokens takes .* binds at most 600 kB \(maxStorageBufferBindingSize\); /;
  await tab.mark();
  await set(tab, { iters: 1, "batch-size": 8, "steps-per-eval": 0, prompts: "" });
  const planned = await tab.until("the plan's refusal", ({ type, request }) => type === "failed" && request === "plan");
  assert.match(planned.message, expected);
  await tab.page.click("#train");
  const { message } = await tab.until("the refusal", ({ type, request }) => type === "failed" && request === "train", 60);
  assert.match(message, expected);
  await tab.page.waitForFunction((text) => document.body.innerText.includes(text), message);
  await tab.event("idle", 60);
  const [, size] = message.match(/a batch size of (\d)/) ?? assert.fail(`no batch size in: ${message}`);
  await set(tab, { "batch-size": size });
  await tab.page.click("#train");
  await tab.until("a step", ({ event }) => event === "step", 60);
  await tab.event("idle", 60);
  assert.deepEqual(tab.complaints, []);
  await context.close();
  site.close();
  return message;
}

export const tests = [
  ["wrong-files", wrongFiles],
  ["a-loss-that-is-no-number", divergence],
  ["a-lost-device", lostDevice],
  ["no-webgpu", noWebGpu],
  ["a-full-storage", fullStorage],
  ["a-second-tab", secondTab],
  ["a-sleeping-tab", sleepingTab],
  ["held-in-parts", heldInParts],
  ["too-large-a-batch", tooLargeABatch],
];
