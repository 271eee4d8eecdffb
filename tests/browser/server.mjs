// A static server on the loopback address: the files beside this one, and the wasm package under /pkg/.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { extname, join } from "node:path";

const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".wasm": "application/wasm",
};

/** Serves until closed; resolves to the server and its address, on a port the system picks. */
export function serve(pages, pkg) {
  const server = createServer(async (request, response) => {
    const path = /^\/(pkg\/)?([\w-]+(?:\.[\w-]+)+)$/.exec(request.url);
    const type = path && TYPES[extname(path[2])];
    if (!type) return response.writeHead(404).end();
    try {
      const body = await readFile(join(path[1] ? pkg : pages, path[2]));
      response.writeHead(200, { "content-type": type, "cache-control": "no-store" }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  return new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => resolve({ server, url: `http://127.0.0.1:${server.address().port}` }));
  });
}
