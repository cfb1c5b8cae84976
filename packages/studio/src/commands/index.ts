/* Converts a job to commands that repeat it. Pure. */
import type { JobObject, Json, JsonOptions } from "@mflux-depth/server/contract";
import { lorasOf } from "../options/loras.js";
import { fileNameOf } from "./file-name.js";
import { javascript, python, shell } from "./literals.js";

export interface Commands {
  readonly cli: string;
  readonly curl: string;
  readonly typescript: string;
  readonly python: string;
}

type Repeated = Pick<JobObject, "request" | "load" | "seed" | "image">;

/** The server of a job, which has its pictures. */
export interface Server {
  /** Its address. */
  readonly origin: string;
  /** Whether it asks for a token. Commands read it from the environment. */
  readonly usesToken: boolean;
}

/** The variable with the token, which is also the server's own. */
const tokenVariable = "MFLUX_DEPTH_TOKEN";

/** A header for curl, in double quotes so that the shell fills in the token. */
const curlHeader = `--header "Authorization: Bearer $${tokenVariable}"`;

/** The commands that make a job's image again. */
export function commandsOf(job: Repeated, server: Server): Commands {
  // A single image needs no comparison.
  const { best_of: _, ...request } = given(job.request);
  const load = given(job.load);
  return {
    cli: cliOf(request, load, fileNameOf(job), server),
    curl: curlOf(request, load, fileNameOf(job), server),
    typescript: typescriptOf(request, load, fileNameOf(job), server),
    python: pythonOf(request, load, fileNameOf(job), server),
  };
}

/** Options with a value. */
const given = (options: JsonOptions): JsonOptions =>
  Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null));

const isPicture = (value: Json): value is { readonly blob: string } =>
  typeof value === "object" && value !== null && "blob" in value;

interface PictureFile {
  readonly name: string;
  readonly file: string;
  readonly url: string;
}

/** The pictures of a request, with names for their files. */
const picturesIn = (request: JsonOptions, origin: string): PictureFile[] =>
  Object.entries(request).flatMap(([name, value]) =>
    isPicture(value)
      ? [{ name, file: `${name.replaceAll("_", "-")}.png`, url: `${origin}/v1/blobs/${value.blob}` }]
      : [],
  );

function cliOf(
  request: JsonOptions,
  load: JsonOptions,
  output: string,
  { origin, usesToken }: Server,
): string {
  const pictures = picturesIn(request, origin);
  const header = usesToken ? `${curlHeader} ` : "";
  const fetches = pictures.map(({ file, url }) => `curl --fail ${header}--output ${file} ${url}`);
  const flags = Object.entries({ ...request, ...load }).flatMap(([name, value]) => {
    const flag = name.replaceAll("_", "-");
    // The command line gives scales with the LoRAs.
    if (name === "lora_scales") return [];
    if (name === "loras")
      return lorasOf(value, request.lora_scales).map(
        ({ source, scale }) => `--lora ${shell(source)} ${scale}`,
      );
    const picture = pictures.find((other) => other.name === name);
    if (picture) return [`--${flag} ${picture.file}`];
    if (value === true) return [`--${flag}`];
    // Switches are off by default, except int8.
    if (value === false) return name === "int8" ? ["--no-int8"] : [];
    const text = String(value);
    // A word that starts with a dash would be read as a flag.
    return [`--${flag}${text.startsWith("-") ? "=" : " "}${shell(text)}`];
  });
  const command = ["npx mflux-depth generate", ...flags, `--output ${shell(output)}`].join(" \\\n  ");
  return [...fetches, command].join("\n");
}

function curlOf(
  request: JsonOptions,
  load: JsonOptions,
  output: string,
  { origin, usesToken }: Server,
): string {
  const body = JSON.stringify({ kind: "generate", request, load }, null, 2);
  return [
    `curl --fail '${origin}/v1/jobs?wait=300' \\`,
    ...(usesToken ? [`  ${curlHeader} \\`] : []),
    "  --header 'Content-Type: application/json' \\",
    `  --data ${shell(body)}`,
    "# The answer has the image's address:",
    `# curl --fail ${usesToken ? `${curlHeader} ` : ""}--output ${output} ${origin}/v1/jobs/ID/image`,
  ].join("\n");
}

const toCamelCase = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

function typescriptOf(
  request: JsonOptions,
  load: JsonOptions,
  output: string,
  { origin, usesToken }: Server,
): string {
  const pictures = picturesIn(request, origin);
  const camel = (options: JsonOptions): Record<string, Json> =>
    Object.fromEntries(Object.entries(options).map(([name, value]) => [toCamelCase(name), value]));
  const names = new Map(pictures.map(({ name }) => [toCamelCase(name), toCamelCase(name)]));
  return [
    'import { FluxDepth } from "mflux-depth";',
    "",
    ...(usesToken && pictures.length > 0
      ? [`const headers = { authorization: \`Bearer \${process.env.${tokenVariable}}\` };`]
      : []),
    ...pictures.map(
      ({ name, url }) =>
        `const ${toCamelCase(name)} = new Uint8Array(await (await fetch(${javascript(url)}${usesToken ? ", { headers }" : ""})).arrayBuffer());`,
    ),
    ...(pictures.length > 0 ? [""] : []),
    `using flux = await FluxDepth.load(${objectOf(camel(load), names)});`,
    `const result = await flux.generate(${objectOf(camel(request), names)});`,
    `await result.save(${javascript(output)});`,
    "",
  ].join("\n");
}

function objectOf(options: Readonly<Record<string, Json>>, variables: ReadonlyMap<string, string>): string {
  const lines = Object.entries(options).map(([name, value]) =>
    variables.has(name) ? `  ${variables.get(name)},` : `  ${name}: ${javascript(value)},`,
  );
  return lines.length > 0 ? `{\n${lines.join("\n")}\n}` : "{}";
}

function pythonOf(
  request: JsonOptions,
  load: JsonOptions,
  output: string,
  { origin, usesToken }: Server,
): string {
  const sent = usesToken ? ", headers=headers" : "";
  return [
    ...(usesToken ? ["import os", ""] : []),
    "import requests",
    "",
    `server = ${python(origin)}`,
    ...(usesToken ? [`headers = {"Authorization": "Bearer " + os.environ["${tokenVariable}"]}`] : []),
    `body = ${python({ kind: "generate", request, load })}`,
    `job = requests.post(f"{server}/v1/jobs", params={"wait": 300}, json=body${sent})`,
    "job.raise_for_status()",
    `image = requests.get(server + job.json()["image"]["url"]${sent})`,
    "image.raise_for_status()",
    `open(${python(output)}, "wb").write(image.content)`,
    "",
  ].join("\n");
}
