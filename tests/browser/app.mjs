// Tests of the built page in headless Chromium.
//
//     node app.mjs DIST NATIVE [NAME ...]
//
// DIST is what `trunk build --release` wrote, NATIVE the native binary, whose losses and answers the page's must equal;
// with names, only those tests run. Environment, all optional:
//   TEST_MODULES  the folder that holds node_modules, if not this one
//   TEST_SHOTS    a folder for screenshots of every view
//   CHROMIUM      the browser
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { launch } from "./browser.mjs";
import { serveSite } from "./site.mjs";
import * as running from "./running.mjs";
import * as failing from "./failing.mjs";
import * as fetching from "./fetching.mjs";
import * as looking from "./looking.mjs";

const TESTS = [...running.tests, ...fetching.tests, ...failing.tests, ...looking.tests];

const [dist, native, ...names] = process.argv.slice(2);
if (!dist || !native) {
  console.error("usage: node app.mjs DIST NATIVE [NAME ...]");
  process.exit(2);
}
const scratch = process.env.TEST_SCRATCH ?? mkdtempSync(join(tmpdir(), "diablo-browser-"));
const folder = resolve(dist);
const site = await serveSite(folder);
const root = resolve(fileURLToPath(import.meta.url), "../../..");
const world = { folder, native: resolve(native), scratch, site, root, browser: await launch(), kept: {} };

let failures = 0;
for (const [name, test] of TESTS) {
  if (names.length > 0 && !names.includes(name)) continue;
  const start = Date.now();
  try {
    const note = await test(world);
    console.log(`ok    ${name}  ${((Date.now() - start) / 1000).toFixed(0)} s${note ? `  ${note}` : ""}`);
  } catch (error) {
    failures += 1;
    console.log(`FAIL  ${name}\n${error.stack ?? error}`);
  }
}
console.log(failures ? `browser: ${failures} failed` : "browser: all passed");
await world.browser.close();
if (!process.env.TEST_SCRATCH) rmSync(scratch, { recursive: true, force: true });
process.exit(failures ? 1 : 0); // a pending timer would keep the process
