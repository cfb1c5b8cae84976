// Makes an image from a depth map with OpenAI's client.
import { readFile, writeFile } from "node:fs/promises";
import OpenAI from "openai";

const client = new OpenAI({
  baseURL: `${process.env.MFLUX_DEPTH_URL ?? "http://127.0.0.1:4280"}/v1`,
  apiKey: process.env.MFLUX_DEPTH_TOKEN ?? "none",
});
const map = await readFile(new URL("../images/portrait_depth.png", import.meta.url));

const stream = await client.images.generate({
  prompt: "a glossy gold portrait, on snow, blue sky, light from the left, highly detailed",
  size: "256x256",
  stream: true,
  partial_images: 2,
  // Fields that only this server has.
  ...{ depth_image: map.toString("base64"), seed: 1 },
});
for await (const event of stream) {
  if (event.type === "image_generation.partial_image")
    console.log(`preview ${event.partial_image_index + 1}`);
  else await writeFile("portrait.png", Buffer.from(event.b64_json, "base64"));
}
console.log("portrait.png");
