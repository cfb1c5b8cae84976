import { createRequire } from "node:module";
import { MlxError } from "./errors.js";
import type { Native } from "./native-types.js";

const require = createRequire(import.meta.url);
export const native: Native = require("../../build/Release/mlx.node");
// Errors of the addon are made of this class.
native.initialize(MlxError);
