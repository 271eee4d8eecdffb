// A server that speaks the hub's URLs, on the loopback address, and fails as it is told to. Large files come from a
// second server, as from the hub's store. Both send the headers that let pages of others read them.
import { createHash } from "node:crypto";
import { createServer } from "node:http";

/** The one repository there is, and its commit. */
export const REPO = "org/tiny";
export const COMMIT = "0123456789abcdef0123456789abcdef01234567";

const REVISIONS = ["main", COMMIT, "v1", "refs%2Fpr%2F1"];
/** What the real hub and its store let pages of others see of an answer. */
const HUB_SHOWS =
  "X-Repo-Commit,X-Request-Id,X-Error-Code,X-Error-Message,X-Total-Count,ETag,Link,Accept-Ranges,Content-Range," +
  "X-Linked-Size,X-Linked-ETag,X-Xet-Hash";
const STORE_SHOWS = "Accept-Ranges,Content-Range,Content-Type,Content-Disposition,ETag,X-Cache";

const isLarge = (file) => /\.(safetensors|gguf|bin)$/.test(file);

/** As the hub has it: SHA-256 of a large file, git's hash of a small one. */
export function hash(file, bytes) {
  if (isLarge(file)) return createHash("sha256").update(bytes).digest("hex");
  return createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
}

function refusal(status, code, message) {
  return { status, headers: { "X-Error-Code": code, "X-Error-Message": message }, body: Buffer.from(message) };
}

/**
 * Starts the hub with `files`, bytes by name. What it resolves to:
 *
 * - `url`, `requests` (`{ target, range, method, sent }`, newest last; `sent` counts bytes of the body), `close()`
 * - `files`, `listing` (if set, sent instead of the truth), `isGated`, `pace` (milliseconds between two pieces of a
 *   large file's body), `pieceBytes` (their size): all may be changed
 * - `fault(target, kind)`: what goes wrong with the next request whose target contains the text:
 *   `{ drop: true }` closes without an answer, `{ breakAfter: n }` closes after n bytes of the body, `{ stallAfter: n }`
 *   keeps the connection without a further byte, `{ ignoreRange: true }` sends all, `{ content: bytes }` sends others,
 *   `{ status: n }` answers with this status
 */
export async function startHub(files) {
  const hub = { files, listing: null, isGated: false, pace: 0, pieceBytes: 64 << 10, requests: [], faults: [] };
  hub.fault = (target, kind) => hub.faults.push([target, kind]);

  const serve = (answer, shown) => async (request, response) => {
    const entry = { target: request.url, range: request.headers.range ?? null, method: request.method, sent: 0 };
    hub.requests.push(entry);
    response.on("error", () => {});
    const cors = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": shown };
    if (request.method === "OPTIONS") {
      // The real ones allow no `Range` either: as "bytes=5-" it must go without asking.
      const allowed = { "Access-Control-Allow-Methods": "GET,HEAD", "Access-Control-Allow-Headers": "Content-Type" };
      return response.writeHead(204, { ...cors, ...allowed }).end();
    }
    const at = hub.faults.findIndex(([target]) => request.url.includes(target));
    const fault = at < 0 ? {} : hub.faults.splice(at, 1)[0][1];
    if (fault.drop) return request.socket.destroy();
    const { status, headers, body } = fault.status ? refusal(fault.status, "", "as told") : answer(request, fault);
    response.writeHead(status, { ...cors, ...headers, "Content-Length": body.length });
    const end = Math.min(fault.breakAfter ?? fault.stallAfter ?? body.length, body.length);
    while (entry.sent < end && !response.destroyed) {
      const piece = body.subarray(entry.sent, Math.min(end, entry.sent + hub.pieceBytes));
      entry.sent += piece.length;
      await new Promise((resolve) => response.write(piece, resolve));
      if (hub.pace > 0 && isLarge(request.url.split("?")[0])) await new Promise((go) => setTimeout(go, hub.pace));
    }
    if (fault.breakAfter !== undefined) return request.socket.destroy();
    if (fault.stallAfter === undefined) response.end();
  };

  const content = (file, request, fault, etag = hash) => {
    const bytes = hub.files[file];
    if (!bytes) return refusal(404, "EntryNotFound", "Entry not found");
    const headers = { ETag: `"${etag(file, bytes)}"`, "Accept-Ranges": "bytes" };
    const sent = fault.content ?? bytes;
    const range = /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
    if (!range || fault.ignoreRange) return { status: 200, headers, body: sent };
    const from = Number(range[1]);
    if (from >= sent.length) return { status: 416, headers, body: Buffer.alloc(0) };
    headers["Content-Range"] = `bytes ${from}-${sent.length - 1}/${sent.length}`;
    return { status: 206, headers, body: sent.subarray(from) };
  };

  const listing = () => {
    const sibling = ([name, bytes]) => {
      const file = { rfilename: name, size: bytes.length, blobId: hash(name, bytes) };
      if (isLarge(name)) {
        file.blobId = "f".repeat(40);
        file.lfs = { sha256: hash(name, bytes), size: bytes.length, pointerSize: 130 };
      }
      return file;
    };
    return hub.listing ?? { id: REPO, sha: COMMIT, private: false, siblings: Object.entries(hub.files).map(sibling) };
  };

  const answer = (request, fault) => {
    const [target] = request.url.split("?");
    const api = `/api/models/${REPO}/revision/`;
    if (target.startsWith(api)) {
      if (!REVISIONS.includes(target.slice(api.length))) return refusal(404, "RevisionNotFound", "Invalid rev id");
      const headers = { "Content-Type": "application/json" };
      return { status: 200, headers, body: Buffer.from(JSON.stringify(listing())) };
    }
    // So the real hub answers those it does not know.
    if (target.startsWith("/api/models/")) return refusal(401, "RepoNotFound", "Invalid username or password.");
    const resolve = `/${REPO}/resolve/${COMMIT}/`;
    if (!target.startsWith(resolve)) return refusal(404, "", "no such page");
    if (hub.isGated) return refusal(403, "GatedRepo", `Access to model ${REPO} is restricted`);
    const file = decodeURIComponent(target.slice(resolve.length));
    const bytes = hub.files[file];
    if (!bytes || !isLarge(file)) return content(file, request, fault);
    const headers = {
      Location: `${hub.store}/store/${encodeURIComponent(file)}?Signature=abc`,
      "X-Repo-Commit": COMMIT,
      "X-Linked-ETag": `"${hash(file, bytes)}"`,
      "X-Linked-Size": bytes.length,
    };
    return { status: 302, headers, body: Buffer.from("moved") };
  };

  const stored = (request, fault) => {
    const file = decodeURIComponent(request.url.split("?")[0].slice("/store/".length));
    return content(file, request, fault, () => "the store's own name");
  };

  const servers = [createServer(serve(answer, HUB_SHOWS)), createServer(serve(stored, STORE_SHOWS))];
  [hub.url, hub.store] = await Promise.all(servers.map((server) => new Promise((resolve, reject) => {
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => resolve(`http://127.0.0.1:${server.address().port}`));
  })));
  hub.close = () => {
    for (const server of servers) {
      server.close();
      server.closeAllConnections();
    }
  };
  return hub;
}
