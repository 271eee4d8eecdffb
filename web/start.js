// The page itself is web.js, made from src/bin/web.rs.
import init from "./web.js";

await init();
