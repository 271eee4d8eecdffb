// What the page's training costs in headless Chromium on SwiftShader: figures, not tests; `tests/run` leaves it alone.
//
//     node measuring.mjs DIST NATIVE speed            tokens a second, and those of the native binary on the same driver
//     node measuring.mjs DIST NATIVE growth [STEPS]   memory of the worker and the GPU process as training goes on
//     node measuring.mjs DIST NATIVE model FILE       two steps of a model from its GGUF file
//
// Environment: as of app.mjs; SWIFTSHADER is the driver's JSON file, if not the one beside the browser.
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, realpathSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium, launch } from "./browser.mjs";
import { ready, set } from "./running.mjs";
import { serveSite } from "./site.mjs";

const SPEED_STEPS = 40;
/** Steps after which everything is compiled. */
const WARM = 5;
const ROUNDS = 3;
const SAMPLES = 10;
const MIB = 2 ** 20;

const QUIET = { "steps-per-eval": 0, "save-every": 0, prompts: "" };
const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];
const steps = (events) => events.filter(({ event }) => event === "step");

/** The worker's module, its memory and its GPU buffers in reach; only buffers that are neither destroyed nor collected count. */
function opened(path, body) {
  if (path !== "/worker-start.js") return body;
  const count = `
    self.gpu = { bytes: 0, buffers: 0 };
    const gone = (size) => { self.gpu.bytes -= size; self.gpu.buffers -= 1; };
    const collected = new FinalizationRegistry(gone);
    const { createBuffer } = GPUDevice.prototype;
    GPUDevice.prototype.createBuffer = function (what) {
      const buffer = createBuffer.call(this, what);
      self.gpu.bytes += what.size; self.gpu.buffers += 1;
      collected.register(buffer, what.size, buffer);
      return buffer;
    };
    const { destroy } = GPUBuffer.prototype;
    GPUBuffer.prototype.destroy = function () {
      if (collected.unregister(this)) gone(this.size);
      return destroy.call(this);
    };
    self.wasm = await init();`;
  return Buffer.from(body.toString().replace("await init();", count));
}

/** MiB of the resident memory of the browser's GPU process, which is where SwiftShader keeps its buffers. */
function gpuProcess() {
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("--type=gpu-process")) continue;
      return Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))[1]) / 1024;
    } catch {} // it ended meanwhile
  }
  return Number.NaN;
}

async function memory(tab) {
  const [worker] = tab.page.workers();
  const { wasm, gpu } = await worker.evaluate(() => ({ wasm: self.wasm.memory.buffer.byteLength, gpu: self.gpu }));
  return { wasm: wasm / MIB, buffers: gpu.buffers, gpu: gpu.bytes / MIB, process: gpuProcess() };
}

async function open(world, context) {
  const site = await serveSite(world.folder, opened);
  return ready(world, context, site.url);
}

function tellMemory(what, { wasm, buffers, gpu, process }) {
  const mib = (value) => value.toFixed(1).padStart(7);
  console.log(`${what.padEnd(18)} wasm ${mib(wasm)} MiB   GPU ${mib(gpu)} MiB in ${String(buffers).padStart(5)} buffers   GPU process ${mib(process)} MiB`);
}

function nativeRate(world) {
  const beside = join(dirname(realpathSync("/usr/lib/chromium/chromium")), "vk_swiftshader_icd.json");
  const driver = process.env.SWIFTSHADER ?? beside;
  const env = { ...process.env, VK_ICD_FILENAMES: driver, VK_DRIVER_FILES: driver };
  const args = ["finetune", "--device", "gpu", "--iters", SPEED_STEPS, "--steps-per-eval", 0, "--save-every", 0];
  const options = { encoding: "utf8", maxBuffer: 64 << 20, cwd: world.scratch, env };
  const text = execFileSync(world.native, [...args.map(String), "--samples", "0", "--adapter-path", "speed", "--overwrite", "--json"], options);
  const events = text.trim().split("\n").map((line) => JSON.parse(line));
  return steps(events).slice(WARM).map((step) => step.tokens_per_second);
}

/**
 * The tasks of the page's main thread while `run` goes on, longest first: how long each took, and how much of that the
 * processor worked on it, in ms. Where software stands in for the GPU, tasks wait for a core most of the time.
 */
async function mainThreadTasks(world, run) {
  const session = await world.browser.newBrowserCDPSession();
  const events = [];
  session.on("Tracing.dataCollected", ({ value }) => events.push(...value.filter(({ ph, dur }) => ph === "M" || dur > 5000)));
  const traceConfig = { includedCategories: ["toplevel", "__metadata"], excludedCategories: ["*"] };
  await session.send("Tracing.start", { traceConfig, transferMode: "ReportEvents" });
  await run();
  const complete = new Promise((go) => session.once("Tracing.tracingComplete", go));
  await session.send("Tracing.end");
  await complete;
  const thread = ({ pid, tid }) => `${pid} ${tid}`;
  const names = events.filter(({ name, args }) => name === "thread_name" && args.name === "CrRendererMain");
  const mains = new Set(names.map(thread));
  const tasks = events.filter((event) => event.name.endsWith("RunTask") && mains.has(thread(event)));
  return tasks.map(({ dur, tdur }) => ({ took: dur / 1000, worked: (tdur ?? dur) / 1000 })).sort((a, b) => b.worked - a.worked);
}

/** Tokens a second of the page's steps. */
async function pageRate(world) {
  const context = await world.browser.newContext();
  const tab = await ready(world, context);
  await set(tab, { ...QUIET, iters: SPEED_STEPS });
  const tasks = await mainThreadTasks(world, async () => {
    await tab.page.click("#train");
    await tab.event("idle", 600);
  });
  const events = await tab.heard();
  await context.close();
  const [{ check_ms: check, launch_ms: launch }] = events.filter(({ type }) => type === "started");
  const longest = Math.max(...tasks.map(({ took }) => took));
  console.log(
    `start check ${(check / 1000).toFixed(1)} s, a launch ${launch.toFixed(2)} ms; ` +
      `longest task of the page ${tasks[0].worked.toFixed(0)} ms of work, or ${longest.toFixed(0)} ms with waiting for a core`,
  );
  return steps(events).slice(WARM).map((step) => step.tokens_per_second);
}

async function speed(world) {
  for (let round = 0; round < ROUNDS; round += 1) {
    const [page, native] = [median(await pageRate(world)), median(nativeRate(world))];
    console.log(`page ${page.toFixed(1)} tokens/s, native ${native.toFixed(1)}: ${(page / native).toFixed(2)}`);
  }
}

async function growth(world, count = "500") {
  const tab = await open(world, await world.browser.newContext());
  const iters = Number(count);
  await set(tab, { ...QUIET, "save-every": 20, iters });
  tellMemory("before", await memory(tab));
  await tab.page.click("#train");
  for (let part = 1; part <= SAMPLES; part += 1) {
    const wanted = Math.round((iters * part) / SAMPLES) - 1;
    await tab.until(`step ${wanted}`, ({ event, step }) => event === "step" && step === wanted, 1200);
    tellMemory(`step ${wanted}`, await memory(tab));
  }
}

async function model(world, file) {
  const tab = await open(world, await world.browser.newContext());
  const start = Date.now();
  await tab.mark();
  await tab.page.setInputFiles("#model-files", resolve(file));
  const report = await tab.event("model", 600);
  console.log(`${report.name}, ${report.parameters} weights (${report.dtype}): open after ${((Date.now() - start) / 1000).toFixed(1)} s`);
  tellMemory("open", await memory(tab));
  await tab.event("data", 120);
  await set(tab, { ...QUIET, iters: 2, "batch-size": 1, "max-seq-length": 32 });
  await tab.page.waitForTimeout(2000); // the rows are read again
  await tab.page.click("#train");
  await tab.until("step 2", ({ event, step }) => event === "step" && step === 2, 1200);
  for (const { step, loss, tokens, tokens_per_second: rate } of steps(await tab.heard())) {
    console.log(`step ${step}: loss ${loss}, ${tokens} tokens, ${rate.toFixed(2)} tokens/s`);
  }
  tellMemory("trained", await memory(tab));
}

const MEASURES = { speed, growth, model };
const [dist, native, name, ...rest] = process.argv.slice(2);
if (!MEASURES[name]) {
  console.error("usage: node measuring.mjs DIST NATIVE speed | growth [STEPS] | model FILE");
  process.exit(2);
}
const world = {
  folder: resolve(dist),
  native: resolve(native),
  scratch: process.env.TEST_SCRATCH ?? resolve(fileURLToPath(import.meta.url), "../../../target"),
  site: await serveSite(resolve(dist)),
  browser: await launch(),
};
console.log(`browser: ${chromium()}`);
await MEASURES[name](world, ...rest);
await world.browser.close();
process.exit(0);
