import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface, type Interface } from "node:readline";
import { fileURLToPath } from "node:url";

/** Work held by the other process. */
interface PeerWork extends AsyncDisposable {
  /** Does the work once, and returns the seconds measured there. */
  run(): Promise<number>;
}

type Answer = Record<string, unknown> & { error?: string };

/** PyTorch, diffusers and MLX for Python in a separate process, which idles between requests. */
export class Peer {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;
  /** The versions running there; `mlx` is null if it is not installed. */
  readonly versions: { torch: string; diffusers: string; mlx: string | null };
  #made = 0;

  private constructor(child: ChildProcess, answers: AsyncIterator<string>, versions: Peer["versions"]) {
    this.#child = child;
    this.#answers = answers;
    this.versions = versions;
  }

  /**
   * Starts Python.
   * @param python the interpreter, with torch and diffusers installed
   * @throws {Error} if it does not start or lacks them.
   */
  static async start(python: string, threads: number): Promise<Peer> {
    const script = fileURLToPath(new URL("../peers.py", import.meta.url));
    const child = spawn(python, [script, String(threads)], {
      stdio: ["pipe", "pipe", "pipe"],
      env: { ...process.env, OMP_NUM_THREADS: String(threads) },
    });
    let said = "";
    child.stderr!.on("data", (data: Buffer) => {
      said = (said + data).slice(-2000);
    });
    const failed = once(child, "error").then(([error]) => {
      throw error;
    });
    const lines: Interface = createInterface({ input: child.stdout! });
    const answers = lines[Symbol.asyncIterator]();
    try {
      const first = await Promise.race([answers.next(), failed]);
      failed.catch(() => {});
      if (first.done) throw new Error(said.trim().split("\n").at(-1));
      return new Peer(child, answers, JSON.parse(first.value));
    } catch (error) {
      throw new Error(
        `BENCH_PYTHON is ${python}, which cannot run bench/peers.py: ${(error as Error).message}. ` +
          "Name a Python with torch, diffusers, transformers and Pillow, or unset BENCH_PYTHON.",
      );
    }
  }

  async #ask(request: Record<string, unknown>): Promise<Answer> {
    this.#child.stdin!.write(`${JSON.stringify(request)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error("bench/peers.py ended before it answered");
    const answer = JSON.parse(value) as Answer;
    if (answer.error !== undefined) throw new Error(`bench/peers.py: ${answer.error}`);
    return answer;
  }

  /** Builds work of one of the kinds in peers.py. */
  async make(kind: string, parameters: Record<string, unknown>): Promise<PeerWork> {
    const name = `${kind}-${this.#made++}`;
    await this.#ask({ make: name, kind, ...parameters });
    return {
      run: async () => (await this.#ask({ run: name })).seconds as number,
      [Symbol.asyncDispose]: async () => void (await this.#ask({ drop: name })),
    };
  }

  toString(): string {
    const { torch, diffusers, mlx } = this.versions;
    return `PyTorch ${torch}, diffusers ${diffusers}${mlx ? `, MLX ${mlx}` : ", no MLX"} for Python`;
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, "exit");
    this.#child.stdin!.end();
    await ended;
  }
}
