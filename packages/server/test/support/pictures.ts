import { readFileSync } from "node:fs";

const examples = new URL("../../../../../examples/images/", import.meta.url);

/** A photo of 512 × 512 pixels. */
export const photo = (): Uint8Array => readFileSync(new URL("astronaut.jpg", examples));

/** A depth map. */
export const depthMap = (): Uint8Array => readFileSync(new URL("cube_depth.png", examples));
