import { FluxDepth } from "mflux-depth";
import sharp, { type Sharp } from "sharp";
import type { Area, FuzzCase } from "../area.js";
import { mutateBytes } from "../mutate.js";
import type { Random } from "../random.js";
import { smallRequest } from "../small-request.js";

/** A small image in every supported format, and texts that decoders mistake for images. */
async function seeds(): Promise<Uint8Array[]> {
  const [width, height] = [24, 16];
  const rgb = Buffer.from(Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 256));
  const image = (): Sharp => sharp(rgb, { raw: { width, height, channels: 3 } });
  const encoded = [
    image().png(),
    image().png({ palette: true }),
    image().ensureAlpha(0.5).png(),
    image().toColourspace("rgb16").png(),
    image().greyscale().png(),
    image().jpeg(),
    image().jpeg({ progressive: true }),
    image()
      .withExif({ IFD0: { Make: "Camera" }, IFD2: { FocalLength: "50/1" } })
      .jpeg(),
    image().withMetadata({ orientation: 6 }).jpeg(),
    image().tiff(),
    image().tiff({ compression: "lzw" }),
    image().tiff({ compression: "jpeg" }),
    image().tiff({ tile: true }),
    image().webp(),
    image().webp({ lossless: true }),
    image().gif(),
    image().avif(),
  ];
  const texts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="9000" height="9000"><filter id="f"><feTurbulence/></filter></svg>`,
    "%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj",
    "%!PS-Adobe-3.0\nshowpage",
    "P6\n24 16\n255\n",
    "\u0089HDF\r\n",
  ];
  return [
    ...(await Promise.all(encoded.map((one) => one.toBuffer()))),
    ...texts.map((text) => Buffer.from(text, "latin1")),
  ];
}

function makeCase(corpus: readonly Uint8Array[], random: Random): FuzzCase {
  const first = random.pick(corpus);
  const input = random.oneIn(10) ? splice(first, random.pick(corpus), random) : mutateBytes(first, random);
  return { input, parameters: { option: random.pick(["image", "depthImage"]) } };
}

/** The beginning of one image and the end of another. */
const splice = (first: Uint8Array, second: Uint8Array, random: Random): Uint8Array =>
  Buffer.concat([
    first.subarray(0, random.below(first.length)),
    second.subarray(random.below(second.length)),
  ]);

/** Photos and depth maps, given as bytes. */
export const images: Area = {
  limits: { seconds: 15, bytes: 1.2e9 },
  async prepare() {
    const corpus = await seeds();
    return (random) => makeCase(corpus, random);
  },
  async open() {
    const flux = await FluxDepth.load({ model: "tiny-world", quantize: "none" });
    return async ({ input, parameters }) => {
      const { depthImage: _, ...rest } = smallRequest;
      const request = { ...rest, [parameters.option!]: input };
      // Images are read before the first stage starts.
      for await (const { type } of flux.steps(request)) if (type === "stage") break;
    };
  },
};
