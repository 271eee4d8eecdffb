// Trains a few steps in headless Chromium, in the page and in a worker, and checks what comes back.
//
//     node smoke.mjs PKG
//
// PKG is what `wasm-bindgen --target web --out-name diablo` wrote. Environment, all optional:
//   SMOKE_REFERENCE  a JSON file with the native run's "losses"; as many steps are trained here
//   SMOKE_MODULES    the folder that holds node_modules, if not this one
//   CHROMIUM         the browser
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { AS_NATIVE, CHECKS } from "./checks.mjs";
import { serve } from "./server.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const SHADERS = join(HERE, "../../shaders");
const TIMEOUT_S = 300;
const DEFAULT_STEPS = 10;
const FLAGS = [
  "--no-sandbox", // needed as root; only our own page is loaded
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--enable-unsafe-swiftshader",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const SETTLE_MS = 250;

const count = { passed: 0, failed: 0, skipped: 0 };

function line(outcome, place, name, note) {
  count[outcome] += 1;
  const mark = { passed: "ok  ", failed: "FAIL", skipped: "skip" }[outcome];
  console.log(`${mark}  ${place.padEnd(11)}  ${name.padEnd(9)}  ${note}`);
}

function finish(error) {
  if (error) line("failed", doing, "run", error.stack ?? error);
  const skipped = count.skipped ? `, ${count.skipped} skipped` : "";
  console.log(`smoke: ${count.passed} passed, ${count.failed} failed${skipped}`);
  process.exit(count.failed > 0 || count.passed === 0 ? 1 : 0);
}

/** The first of the usual places that has a browser. */
function chromium() {
  const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"].filter(Boolean);
  const found = places.find((path) => existsSync(path));
  if (!found) throw new Error(`no browser at ${places.join(", ")}; install chromium or set CHROMIUM`);
  return found;
}

function readReference() {
  const path = process.env.SMOKE_REFERENCE;
  if (!path) return null;
  const { losses } = JSON.parse(readFileSync(path, "utf8"));
  if (!Array.isArray(losses) || losses.length === 0 || !losses.every(Number.isFinite)) {
    throw new Error(`${path}: "losses" is not a list of finite numbers`);
  }
  return losses;
}

/** Collects whatever a page and its workers complain about; the first complaint also rejects `broken`. */
function listen(page) {
  const complaints = [];
  const broken = new Promise((_, reject) => {
    const complain = (text) => {
      complaints.push(text);
      reject(new Error(text));
    };
    page.on("pageerror", (error) => complain(`uncaught: ${error.stack || error}`));
    page.on("crash", () => complain("the page crashed"));
    page.on("requestfailed", (request) => complain(`${request.url()}: ${request.failure()?.errorText}`));
    page.on("response", (response) => {
      if (!response.ok()) complain(`${response.url()}: status ${response.status()}`);
    });
    page.on("console", (message) => {
      const text = `${message.type()}: ${message.text()}`;
      if (["error", "assert"].includes(message.type())) complain(text);
      else console.log(`      | ${text}`);
    });
  });
  broken.catch(() => {}); // also looked at through `complaints`
  return { complaints, broken };
}

/** One fresh page; trains there and reports its checks. Resolves to the losses. */
async function check(browser, url, place, expected) {
  const { steps, reference } = expected;
  const page = await browser.newPage();
  const { complaints, broken } = listen(page);
  const train = async () => {
    await page.goto(`${url}/smoke.html`);
    await page.waitForFunction(() => "smoke" in window);
    return page.evaluate(([place, steps]) => window.smoke[place](steps), [place, steps]);
  };

  let report = null;
  const start = performance.now();
  try {
    report = JSON.parse(await Promise.race([train(), broken]));
  } catch (error) {
    if (!complaints.includes(error.message)) complaints.push(String(error.message ?? error));
  }
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  await page.waitForTimeout(SETTLE_MS).catch(() => {}); // complaints may still be on their way; a crashed page refuses
  await page.close();
  if (complaints.length > 0) line("failed", place, "quiet", complaints.join("\n      | "));
  else line("passed", place, "quiet", `no error logged in ${seconds} s`);
  if (report === null) return null;

  if (!reference) line("skipped", place, AS_NATIVE[0], "SMOKE_REFERENCE is not set");
  for (const [name, test] of reference ? [...CHECKS, AS_NATIVE] : CHECKS) {
    try {
      line("passed", place, name, test(report, expected));
    } catch (error) {
      line("failed", place, name, error.message);
    }
  }
  return report.losses;
}

async function main() {
  const pkg = process.argv[2];
  if (!pkg || !existsSync(join(pkg, "diablo.js"))) throw new Error(`usage: smoke.mjs PKG; no diablo.js in ${pkg}`);
  const reference = readReference();
  const steps = reference?.length ?? DEFAULT_STEPS;
  const shaders = readdirSync(SHADERS).filter((file) => file.endsWith(".wgsl"));
  const expected = { steps, reference, shaders: shaders.map((file) => basename(file, ".wgsl")) };

  doing = "browser";
  const modules = createRequire(join(resolve(process.env.SMOKE_MODULES ?? HERE), "package.json"));
  const executablePath = chromium();
  const browser = await modules("playwright-core").chromium.launch({ executablePath, args: FLAGS });
  console.log(`Chromium ${browser.version()}, ${steps} steps`);

  const { url } = await serve(HERE, resolve(pkg));
  const losses = [];
  for (const place of ["main thread", "worker"]) {
    doing = place;
    losses.push(await check(browser, url, place, expected));
  }
  const [first, second] = losses.map((list) => JSON.stringify(list));
  if (losses.includes(null)) line("skipped", "both", "same bits", "a report is missing");
  else if (first === second) line("passed", "both", "same bits", "the losses are equal");
  else line("failed", "both", "same bits", `${first} and ${second}`);

  doing = "end";
  await browser.close();
}

let doing = "start";
setTimeout(() => finish(new Error(`not done after ${TIMEOUT_S} s`)), TIMEOUT_S * 1000);
main().then(() => finish(), finish);
