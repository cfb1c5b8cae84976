import { lstatSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Files } from "../../packages/mflux-depth/test/support/hub-server.js";
import { type Area, type FuzzCase, Violation } from "../area.js";
import { mutateBytes, mutateJson } from "../mutate.js";
import { packageFolder } from "../package-folder.js";
import type { Random } from "../random.js";

type ServerModule = typeof import("../../packages/mflux-depth/test/support/hub-server.js");
type FixtureModule = typeof import("../../packages/mflux-depth/test/support/hub-fixture.js");
type ObtainModule = typeof import("../../packages/mflux-depth/src/hub/obtain.js");
type KindsModule = typeof import("../../packages/mflux-depth/src/families/kinds.js");

/** Imports a module that the package does not export. */
const internal = (path: string): Promise<unknown> => import(join(packageFolder, "dist", path));

const repository = "someone/tiny";
const commit = "c0ffee".repeat(7).slice(0, 40);

/** The answers that make up a download, by a part of their address. */
const answers = {
  revision: "/revision/",
  listing: "/tree/",
  config: "/resolve/",
  weights: "/cdn/",
} as const;
type Answer = keyof typeof answers;

/** A Hub with one repository, the same on every run. */
async function startHub() {
  const { HubServer } = (await internal("test/support/hub-server.js")) as ServerModule;
  const { full, needed } = (await internal("test/support/hub-fixture.js")) as FixtureModule;
  const hub = await HubServer.start();
  hub.pageSize = 100;
  hub.repositories[repository] = { commits: { [commit]: full }, refs: { main: commit } };
  return { hub, needed };
}

/** The API's answers, as given by the Hub. */
async function listings(): Promise<Readonly<Record<"revision" | "listing", string>>> {
  const { hub } = await startHub();
  const textOf = async (path: string): Promise<string> => (await fetch(`${hub.endpoint}${path}`)).text();
  try {
    return {
      revision: await textOf(`/api/models/${repository}/revision/main`),
      listing: await textOf(`/api/models/${repository}/tree/${commit}?recursive=true`),
    };
  } finally {
    await hub[Symbol.asyncDispose]();
  }
}

const headers = [
  "",
  ...["etag: nonsense", 'x-linked-etag: "0"', "x-linked-size: -1", "content-range: bytes 5-9/10"],
  ...["location: /elsewhere", "location: file:///etc/passwd", "content-encoding: gzip", "retry-after: 1e9"],
  ...['link: <http://127.0.0.1:1/>; rel="next"', "x-repo-commit: ../..", "x-error-code: GatedRepo"],
];

function makeCase(genuine: Awaited<ReturnType<typeof listings>>, random: Random): FuzzCase {
  const answer = random.pick(Object.keys(answers) as Answer[]);
  const isListed = answer === "revision" || answer === "listing";
  const body = Buffer.from(isListed ? genuine[answer] : "the bytes of another file");
  const changed =
    isListed && random.oneIn(2)
      ? Buffer.from(JSON.stringify(mutateJson(JSON.parse(body.toString()), random)))
      : mutateBytes(body, random);
  const status = random.oneIn(2) ? "200" : random.pick(["206", "301", "307", "404", "416", "429", "500"]);
  return { input: changed, parameters: { answer, status, header: random.pick(headers) } };
}

/** The files of a folder, including those that links in it lead to. */
function filesIn(folder: string): Map<string, Buffer> {
  const names = readdirSync(folder, { recursive: true, encoding: "utf8" });
  const files = names.filter((name) => !lstatSync(join(folder, name)).isDirectory());
  return new Map(files.map((name) => [name, readFileSync(join(folder, name))]));
}

/** Answers of a Hub that is broken or hostile. */
export const hub: Area = {
  limits: { seconds: 40, bytes: 1e9 },
  async prepare() {
    const genuine = await listings();
    return (random) => makeCase(genuine, random);
  },
  async open(folder) {
    const { obtainRepository } = (await internal("src/hub/obtain.js")) as ObtainModule;
    const { kindFor } = (await internal("src/families/kinds.js")) as KindsModule;
    const { hub: server, needed } = await startHub();
    const outer = join(folder, "outer");
    const env = { HF_HOME: join(outer, "home"), HF_ENDPOINT: server.endpoint };
    const patience = { retries: 1, delayMs: 1, stallMs: 300, answerMs: 1000 };
    return async ({ input, parameters: { answer, status, header } }) => {
      rmSync(outer, { recursive: true, force: true });
      const [name, value] = header!.split(/: (.*)/);
      server.fault = ({ path }, response) => {
        if (!path.includes(answers[answer as Answer])) return undefined;
        response.writeHead(Number(status), name ? { [name]: value } : {}).end(input);
        return true;
      };
      const found = await obtainRepository(
        { model: repository },
        { kind: kindFor.generation, env, patience },
      ).finally(() => {
        requireNothingBut("outer", folder);
      });
      // A listing may name other hashes and files, but a file with the Hub's hash must have its bytes.
      if (answer === "weights") requireFiles(filesIn(found.folder), needed);
    };
  },
};

/** @throws {Violation} if something was written next to the cache. */
function requireNothingBut(entry: string, folder: string): void {
  const others = readdirSync(folder).filter((name) => name !== entry);
  if (others.length > 0) throw new Violation(`it wrote ${others.join(", ")} outside of its cache`);
}

/** @throws {Violation} when a file differs from the one that the Hub lists. */
function requireFiles(found: ReadonlyMap<string, Buffer>, listed: Files): void {
  for (const [file, bytes] of Object.entries(listed))
    if (!found.get(file)?.equals(Buffer.from(bytes)))
      throw new Violation(`${file} is not the one that the Hub lists`);
}
