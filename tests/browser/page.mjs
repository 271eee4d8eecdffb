// Offers the smoke training to smoke.mjs, in the two places where the app may run it.
import "./loud.mjs";
import init, { smoke_train } from "./pkg/diablo.js";

async function mainThread(steps) {
  await init();
  return smoke_train(steps);
}

function worker(steps) {
  return new Promise((resolve, reject) => {
    const worker = new Worker("worker.mjs", { type: "module" });
    worker.onmessage = ({ data }) => ("error" in data ? reject(new Error(data.error)) : resolve(data.report));
    worker.onerror = (event) => reject(new Error(event.message || "the worker's module could not be loaded"));
    worker.postMessage(steps);
  });
}

window.smoke = { "main thread": mainThread, worker };
