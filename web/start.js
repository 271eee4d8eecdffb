// Loads the page's program, src/bin/web.rs.
import init from "./web.js";

await init();
