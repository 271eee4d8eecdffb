// Runs the smoke training in a dedicated module worker, as the app does.
import "./loud.mjs";
import init, { smoke_train } from "./pkg/diablo.js";

self.onmessage = async ({ data: steps }) => {
  try {
    await init();
    self.postMessage({ report: await smoke_train(steps) });
  } catch (error) {
    self.postMessage({ error: String(error?.stack || error) });
  }
};
