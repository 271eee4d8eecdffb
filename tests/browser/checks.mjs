// What a report of `smoke_train` must show. A check returns a note for the log, or throws what is wrong.

/** Largest error of a kernel against its CPU twin. */
const KERNEL_ERROR = 1e-5;
/** Largest relative difference between a browser loss and the native one. */
const NATIVE_DIFFERENCE = 1e-3;
/** A launch costs 0.05 ms, but 6 ms where every call re-runs the module's constructors. */
const LAUNCH_MS = 1.0;

function require(condition, message) {
  if (!condition) throw new Error(message);
}

function adapter({ adapter }) {
  require(typeof adapter === "string" && adapter !== "", "the report names no adapter");
  return adapter;
}

function kernels({ kernels }, { shaders }) {
  require(Array.isArray(kernels), "the report lists no kernels");
  const missing = shaders.filter((shader) => !kernels.some(({ name }) => name === shader));
  require(missing.length === 0, `not checked against a twin: ${missing.join(", ")}`);
  // Not `error > limit`: that would let NaN, which JSON writes as null, pass.
  const ok = ({ error }) => typeof error === "number" && error >= 0 && error <= KERNEL_ERROR;
  const wrong = kernels.filter((kernel) => !ok(kernel));
  const show = ({ name, form, error }) => `${name} (${form}) ${Number.isFinite(error) ? error.toExponential(1) : error}`;
  require(wrong.length === 0, `error above ${KERNEL_ERROR}: ${wrong.map(show).join(", ")}`);
  const worst = kernels.reduce((a, b) => (b.error > a.error ? b : a));
  return `${kernels.length} checked, worst ${show(worst)}`;
}

function losses({ losses }, { steps }) {
  require(Array.isArray(losses) && losses.length === steps, `expected ${steps} losses, got ${JSON.stringify(losses)}`);
  const bad = losses.findIndex((loss) => !Number.isFinite(loss));
  require(bad < 0, `the loss of step ${bad + 1} is ${losses[bad]}`);
  require(losses.at(-1) < losses[0], `the loss did not fall: ${losses[0]} to ${losses.at(-1)}`);
  return `${losses[0].toFixed(4)} to ${losses.at(-1).toFixed(4)} in ${steps} steps`;
}

function asNative({ losses }, { reference }) {
  const difference = losses.map((loss, step) => Math.abs(loss - reference[step]) / Math.abs(reference[step]));
  const bad = difference.findIndex((d) => !(d <= NATIVE_DIFFERENCE));
  require(bad < 0, `step ${bad + 1}: loss ${losses[bad]}, but ${reference[bad]} natively`);
  return `largest relative difference ${Math.max(...difference).toExponential(1)}`;
}

function launch({ launch_ms }) {
  const trap = "is __wasm_call_ctors called once at the entry?";
  require(launch_ms > 0 && launch_ms < LAUNCH_MS, `a launch takes ${launch_ms} ms, limit ${LAUNCH_MS}; ${trap}`);
  return `${launch_ms.toFixed(3)} ms`;
}

/** Pairs of a name and a check, to be called with the report and `{ steps, reference, shaders }`. */
export const CHECKS = Object.entries({ adapter, kernels, losses, launch });

/** The check that needs the native losses. */
export const AS_NATIVE = ["as native", asNative];
