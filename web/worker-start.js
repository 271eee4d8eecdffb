// The worker's module takes a moment to load; what is asked for before then waits here.
import init from "./worker.js";

const early = [];
self.onmessage = (message) => early.push(message);
await init();
for (const message of early) self.onmessage(message);
