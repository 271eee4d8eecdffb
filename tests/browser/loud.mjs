// Imported first, in the page and in the worker: brings to the console what WebGPU rejects. Work goes on after that
// with stale data, and Chromium itself says so in a page's console only, as a warning.
if (self.GPUAdapter) {
  const { requestDevice } = GPUAdapter.prototype;
  GPUAdapter.prototype.requestDevice = async function (...descriptor) {
    const device = await requestDevice.apply(this, descriptor);
    device.addEventListener("uncapturederror", ({ error }) => console.error(`WebGPU: ${error.message}`));
    device.lost.then(({ reason, message }) => {
      if (reason !== "destroyed") console.error(`WebGPU: the device was lost: ${message}`);
    });
    return device;
  };
}
