import { readFileSync } from "node:fs";

const examples = new URL("../../../../../examples/images/", import.meta.url);

/** A photo of 512 × 512 pixels. */
export const photo = (): Uint8Array => readFileSync(new URL("astronaut.jpg", examples));

/** A depth map of 64 × 64 pixels, quick to read. */
export const depthMap = readFileSync(new URL("../../../test/pictures/cube_depth.png", import.meta.url));
