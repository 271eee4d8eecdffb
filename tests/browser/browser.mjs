// Chromium with WebGPU on SwiftShader, and pages in it whose worker is listened to.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const FLAGS = [
  "--no-sandbox", // needed as root; only our own page is loaded
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
const WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-unsafe-swiftshader"];
const POLL_MS = 100;

/** The first of the usual places that has a browser. */
export function chromium() {
  const places = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"].filter(Boolean);
  const found = places.find((path) => existsSync(path));
  if (!found) throw new Error(`no browser at ${places.join(", ")}; install chromium or set CHROMIUM`);
  return found;
}

/** Starts the browser, with WebGPU or without. TEST_MODULES is the folder that holds node_modules, if not this one. */
export function launch({ webgpu = true } = {}) {
  const modules = process.env.TEST_MODULES;
  const require = createRequire(modules ? join(modules, "package.json") : import.meta.url);
  const { chromium: playwright } = require("playwright-core");
  return playwright.launch({ executablePath: chromium(), args: [...FLAGS, ...(webgpu ? WEBGPU : [])] });
}

/** Keeps what every worker of the page says in `heard`, and the last worker in `worker`. */
function listen() {
  window.heard = [];
  const Worker = window.Worker;
  window.Worker = class extends Worker {
    constructor(...given) {
      super(...given);
      window.worker = this;
      this.addEventListener("message", ({ data }) => window.heard.push(JSON.parse(data[0])));
    }
  };
}

/** A page in `context`, and what it complains of. */
export async function openPage(context, url) {
  const page = await context.newPage();
  const complaints = [];
  page.on("pageerror", (error) => complaints.push(`uncaught: ${error.stack || error}`));
  page.on("crash", () => complaints.push("the page crashed"));
  page.on("console", (message) => {
    if (message.type() === "error") complaints.push(message.text());
  });
  await page.addInitScript(listen);
  await page.goto(url);
  return new Tab(page, complaints);
}

/** A page that is listened to. */
export class Tab {
  constructor(page, complaints) {
    Object.assign(this, { page, complaints, from: 0 });
  }

  /** What the worker has said since the page was loaded, from the given message on. */
  heard(from = 0) {
    return this.page.evaluate((from) => window.heard.slice(from), from);
  }

  /** From here on `until` looks for what is new. */
  async mark() {
    this.from = await this.page.evaluate(() => window.heard.length);
  }

  /** The first event since the mark for which `wanted` holds; the next one is looked for after it. */
  async until(what, wanted, seconds = 120) {
    const end = Date.now() + seconds * 1000;
    for (let seen = this.from; ; ) {
      // Only what is new: a run says much, and looking costs time that the page then lacks.
      const heard = await this.heard(seen);
      const at = heard.findIndex(wanted);
      if (at >= 0) {
        this.from = seen + at + 1;
        return heard[at];
      }
      const bad = heard.find(({ type }) => type === "broken");
      if (bad) throw new Error(`waiting for ${what}: ${JSON.stringify(bad)}`);
      seen += heard.length;
      if (Date.now() > end) {
        const last = JSON.stringify(await this.heard(Math.max(0, seen - 3))).slice(0, 600);
        throw new Error(`waiting for ${what}: not within ${seconds} s; last heard ${last}`);
      }
      await new Promise((go) => setTimeout(go, POLL_MS));
    }
  }

  /** Waits for an event of `type`. */
  event(type, seconds) {
    return this.until(type, (event) => event.type === type, seconds);
  }

  /** The text of the element with this id. */
  text(id) {
    return this.page.locator(`#${id}`).innerText();
  }

  /** Losses of all steps heard of so far, by step. */
  async losses() {
    const steps = (await this.heard()).filter(({ type, event }) => type === "training" && event === "step");
    return new Map(steps.map(({ step, loss }) => [step, loss]));
  }
}
