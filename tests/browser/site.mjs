// A static server on the loopback address for a built page.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join, normalize, sep } from "node:path";

const TYPES = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".json": "application/json",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
};

/** As `serveSite`, but for a worker that runs `script` too, before it is asked for anything. */
export function serveWithWorker(folder, script) {
  const changed = (path, body) => (path === "/worker-start.js" ? Buffer.concat([body, Buffer.from(script)]) : body);
  return serveSite(folder, changed);
}

/** Serves `folder` until closed; `changed(path, body)` may give another body. Resolves to `{ url, requests, close }`. */
export function serveSite(folder, changed = (_, body) => body) {
  const requests = [];
  const server = createServer(async (request, response) => {
    const path = decodeURIComponent(new URL(request.url, "http://localhost").pathname);
    requests.push(path);
    const file = join(folder, normalize(path.endsWith("/") ? `${path}index.html` : path));
    if (!file.startsWith(folder + sep)) return response.writeHead(404).end();
    try {
      const body = changed(path, await readFile(file));
      const type = TYPES[extname(file)] ?? "application/octet-stream";
      response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const url = `http://127.0.0.1:${server.address().port}/`;
      resolve({ url, requests, close: () => server.close() });
    });
  });
}
