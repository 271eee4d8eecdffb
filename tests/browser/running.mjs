// Training on the page: as natively, held and gone on with, cut off and gone on with; answers; adapters both ways.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { openPage } from "./browser.mjs";

const STEPS = 30;
const SAVE_EVERY = 5;
/** Steps of a run that was cut off that are compared with the unbroken one. */
const COMPARED = 18;
const QUESTION = "Tell me who Juno is.";
/** The trap of a module whose constructors run at every call costs 6 ms a launch, a busy machine far less. */
const MOST_LAUNCH_MS = 3;
const KERNELS = [
  "adamw", "block_matmul", "block_matmul_dd", "causal_softmax", "cross_entropy", "dequantize", "global_norm",
  "matmul", "merge_blocks", "rms_norm", "rotary", "step_guard", "swiglu",
];

/** Runs the native binary; its standard output. */
function run(world, ...args) {
  const options = { encoding: "utf8", maxBuffer: 64 << 20, stdio: ["ignore", "pipe", "pipe"], cwd: world.scratch };
  return execFileSync(world.native, [...args, "--device", "cpu"], options);
}

const lines = (text) => text.trim().split("\n").map((line) => JSON.parse(line));

/** Opens the page and waits until it could train. */
export async function ready(world, context, url = world.site.url) {
  const tab = await openPage(context, url);
  await tab.event("started", 300);
  await tab.event("model", 120);
  await tab.event("data", 60);
  return tab;
}

/** Fills fields by their ids. */
export async function set(tab, values) {
  await tab.page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
  for (const [id, value] of Object.entries(values)) await tab.page.fill(`#${id}`, String(value));
}

const SHORT = { iters: STEPS, "steps-per-eval": 0, "save-every": SAVE_EVERY, prompts: "" };

/** The answers of both sides to `QUESTION`, with nothing said before. */
async function ask(tab) {
  await tab.page.click("#talk-reset");
  await tab.mark();
  const from = tab.from;
  await tab.page.fill("#question", QUESTION);
  await tab.page.click("#ask");
  for (const side of ["base", "tuned"]) {
    await tab.until(`the answer of ${side}`, (event) => event.type === "answered" && event.side === side, 120);
  }
  const said = { base: "", tuned: "" };
  for (const event of (await tab.heard()).slice(from)) if (event.type === "token") said[event.side] += event.text;
  return said;
}

/** The tuned answer of the native binary. */
function nativeAnswer(world, adapter) {
  const args = ["generate", "--model", "demo", "--prompt", QUESTION, "--json"];
  return lines(run(world, ...args, "--adapter-path", adapter)).find(({ which }) => which === "tuned").text;
}

async function trainsAsNatively(world) {
  const context = await world.browser.newContext({ acceptDownloads: true });
  const tab = await ready(world, context);
  const [started] = (await tab.heard()).filter(({ type }) => type === "started");
  assert.ok(started.launch_ms < MOST_LAUNCH_MS, `a launch takes ${started.launch_ms} ms`);
  assert.deepEqual([...new Set(started.kernels.map(([name]) => name))].sort(), KERNELS);

  await set(tab, SHORT);
  await tab.page.click("#train");
  await tab.until("step 8", ({ event, step }) => event === "step" && step === 8, 300);
  await tab.page.click("#pause");
  const { step: heldAt } = await tab.event("paused", 60);
  const early = await ask(tab);
  await tab.page.click("#resume");
  await tab.event("resumed");
  await tab.event("idle", 600);

  const ours = await tab.losses();
  const native = lines(
    run(world, "finetune", "--iters", STEPS, "--steps-per-eval", "0", "--samples", "0", "--adapter-path", "native", "--json"),
  ).filter(({ event }) => event === "step");
  assert.equal(native.length, STEPS);
  const off = native.map(({ step, loss }) => Math.abs(ours.get(step) - loss));
  assert.ok(off.every((off) => off < 1e-3), `losses differ from the native ones by ${Math.max(...off)}`);

  const said = await ask(tab);
  assert.equal(said.base, early.base);
  assert.notEqual(said.tuned, said.base);
  const download = tab.page.waitForEvent("download");
  await tab.page.click("#download");
  const zip = join(world.scratch, "adapters.zip");
  await (await download).saveAs(zip);
  execFileSync("python3", ["-m", "zipfile", "-e", zip, join(world.scratch, "page")]);
  assert.equal(nativeAnswer(world, join("page", "adapters")), said.tuned.trim());
  assert.deepEqual(tab.complaints, []);
  Object.assign(world.kept, { losses: ours, said });
  await context.close();
  return `held at ${heldAt}; largest difference to the native losses ${Math.max(...off).toExponential(1)}`;
}

async function goesOnAfterAReload(world) {
  assert.ok(world.kept.losses, "needs the run of trains-as-natively");
  const context = await world.browser.newContext();
  const tab = await ready(world, context);
  await set(tab, SHORT);
  await tab.page.click("#train");
  await tab.until("step 11", ({ event, step }) => event === "step" && step === 11, 300);
  await tab.page.reload();
  tab.from = 0;
  const { step, iters } = await tab.event("unfinished", 300);
  assert.ok(step >= 10 && step <= 14 && iters === STEPS, `unfinished at ${step} of ${iters}`);
  await tab.event("data", 120); // the page opens model and data by itself; what it asked for comes first
  await tab.page.click("#continue");
  await tab.until(`step ${COMPARED}`, ({ event, step }) => event === "step" && step === COMPARED, 300);
  await tab.page.click("#stop");
  await tab.event("idle", 60);
  const losses = [...(await tab.losses())].slice(0, COMPARED);
  assert.deepEqual(losses, [...world.kept.losses].slice(0, COMPARED), "not the losses of the unbroken run");
  assert.deepEqual(tab.complaints, []);
  await context.close();
  return `from step ${step}, to the bit`;
}

async function takesNativeAdapters(world) {
  const context = await world.browser.newContext();
  const tab = await ready(world, context);
  mkdirSync(join(world.scratch, "zipped"), { recursive: true });
  const zip = join(world.scratch, "zipped", "mine.zip");
  execFileSync("python3", ["-m", "zipfile", "-c", zip, "native"], { cwd: world.scratch });
  const two = ["adapter_config.json", "adapter_model.safetensors"].map((name) => join(world.scratch, "native", name));
  for (const files of [zip, two]) {
    await tab.mark();
    await tab.page.setInputFiles("#upload", files);
    await tab.event("adapter_loaded");
    assert.equal((await ask(tab)).tuned.trim(), nativeAnswer(world, "native"));
  }
  assert.deepEqual(tab.complaints, []);
  await context.close();
}

export const tests = [
  ["trains-as-natively", trainsAsNatively],
  ["goes-on-after-a-reload", goesOnAfterAReload],
  ["takes-native-adapters", takesNativeAdapters],
];
