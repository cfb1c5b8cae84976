import { createRequire } from "node:module";
import type { Native } from "./native-types.js";

const require = createRequire(import.meta.url);
export const native: Native = require("../../build/Release/mlx.node");
