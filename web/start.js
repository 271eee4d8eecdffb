// Loads the page's program. Everything else is Rust: src/web/page.
import init from "./web.js";
init();
