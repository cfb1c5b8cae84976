// Makes an image from a depth map, and follows the job.
import { readFile, writeFile } from "node:fs/promises";

const server = process.env.MFLUX_DEPTH_URL ?? "http://127.0.0.1:4280";
const token = process.env.MFLUX_DEPTH_TOKEN;
const headers: Record<string, string> = token ? { authorization: `Bearer ${token}` } : {};

async function call(path: string, init: RequestInit = {}): Promise<Response> {
  const response = await fetch(`${server}${path}`, { ...init, headers });
  if (response.ok) return response;
  const { error } = (await response.json()) as { error: { code: string; message: string } };
  throw new Error(`${error.code}: ${error.message}`);
}

const form = new FormData();
form.set("depth_image", new Blob([await readFile(new URL("../images/portrait_depth.png", import.meta.url))]));
form.set(
  "job",
  JSON.stringify({
    kind: "generate",
    request: {
      prompt: "a glossy gold portrait, on snow, blue sky, light from the left, highly detailed",
      width: 256,
      height: 256,
      seed: 1,
    },
  }),
);
const { id } = (await (await call("/v1/jobs", { method: "POST", body: form })).json()) as { id: string };

// The stream ends with the job.
const decoder = new TextDecoder();
let text = "";
let last = "";
for await (const chunk of (await call(`/v1/jobs/${id}/events`)).body!) {
  text += decoder.decode(chunk, { stream: true });
  const blocks = text.split("\n\n");
  text = blocks.pop()!;
  for (const block of blocks) {
    last = /^event: (.*)$/m.exec(block)?.[1] ?? last;
    const data = /^data: (.*)$/m.exec(block)?.[1];
    if (last === "step" && data) {
      const { step, steps } = JSON.parse(data) as { step: number; steps: number };
      console.log(`step ${step} of ${steps}`);
    }
  }
}
if (last !== "succeeded") throw new Error(`the job ${last}`);
await writeFile("portrait.png", Buffer.from(await (await call(`/v1/jobs/${id}/image`)).arrayBuffer()));
console.log("portrait.png");
