/*
 * Server processes of the command line, and requests to them.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { createInterface } from "node:readline";

const program = new URL("../../packages/mflux-depth/bin/mflux-depth.js", import.meta.url).pathname;
export const depthMap = readFileSync(new URL("../../examples/images/cube_depth.png", import.meta.url));
export const load = { model: "tiny-world", quantize: null, device: "cpu" } as const;

export interface Server {
  readonly child: ChildProcess;
  /** The line printed when it was ready: its address, or a worker's id. */
  readonly printed: string;
}

export interface StartOptions {
  /** The data folder. */
  readonly data: string;
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts a server with the bundled model on a free port, and waits until it is ready. */
export async function start({ data, flags = [], env = {} }: StartOptions): Promise<Server> {
  const model = ["-m", "tiny-world", "-q", "none", "--device", "cpu"];
  const child = spawn(
    process.execPath,
    [program, "serve", "--port", "0", "--data", data, ...model, ...flags],
    {
      stdio: ["ignore", "pipe", "ignore"],
      env: { ...process.env, ...env },
    },
  );
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`The server ended with ${code}.`);
  });
  ended.catch(() => {});
  const [printed] = (await Promise.race([once(createInterface(child.stdout!), "line"), ended])) as [string];
  return { child, printed };
}

export async function stop({ child }: Server, signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.kill(signal);
  await once(child, "exit");
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 });

/** Sends a request. @throws if the answer is an error. */
export async function call<T>(server: Server, method: string, path: string, body?: object): Promise<T> {
  try {
    return await callOnce(server, method, path, body);
  } catch (error) {
    // The server may close an idle connection just as a request is sent on it.
    if (method !== "GET" || (error as NodeJS.ErrnoException).code !== "ECONNRESET") throw error;
    return callOnce(server, method, path, body);
  }
}

async function callOnce<T>({ printed }: Server, method: string, path: string, body?: object): Promise<T> {
  const sent = request(new URL(path, printed), {
    method,
    agent,
    headers: { "content-type": "application/json" },
  });
  sent.end(body && JSON.stringify(body));
  const [response] = await once(sent, "response");
  let text = "";
  for await (const chunk of response.setEncoding("utf8")) text += chunk;
  if (response.statusCode >= 400) throw new Error(text);
  return text.startsWith("{") ? JSON.parse(text) : (text as T);
}

/** Resident memory of a process, in bytes. */
export const residentBytes = ({ pid }: ChildProcess): number =>
  Number(execFileSync("ps", ["-o", "rss=", "-p", `${pid}`], { encoding: "utf8" })) * 1024;
