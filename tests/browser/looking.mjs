// Screenshots of every view at both widths and in both schemes; the layout itself must fit.
import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { ready } from "./running.mjs";

async function fits(world) {
  const shots = process.env.TEST_SHOTS;
  if (shots) mkdirSync(shots, { recursive: true });
  for (const colorScheme of ["light", "dark"]) {
    const context = await world.browser.newContext({ colorScheme, reducedMotion: "reduce" });
    const tab = await ready(world, context);
    for (const width of [360, 1920]) {
      await tab.page.setViewportSize({ width, height: width === 360 ? 740 : 1080 });
      const wide = await tab.page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `${wide} px wide at ${width}`);
      if (shots) await tab.page.screenshot({ path: join(shots, `${colorScheme}-${width}.png`), fullPage: true });
    }
    assert.deepEqual(tab.complaints, []);
    await context.close();
  }
}

export const tests = [["fits-every-width", fits]];
