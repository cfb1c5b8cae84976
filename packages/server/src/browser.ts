import { spawn } from "node:child_process";
import { withoutSecrets } from "mflux-depth/command";

/** The command that opens an address, by platform. */
const openers: Readonly<Partial<Record<NodeJS.Platform, readonly [string, ...string[]]>>> = {
  darwin: ["open"],
  linux: ["xdg-open"],
};

interface OpenOptions {
  /** The environment of the browser, which gets no token. */
  readonly env: NodeJS.ProcessEnv;
  /** Called if no browser can be opened. */
  readonly complain: (message: string) => void;
}

/** Opens an address in the user's browser. */
export function openInBrowser(url: string, { env, complain }: OpenOptions): void {
  const opener = openers[process.platform];
  if (opener === undefined) {
    complain(`Open ${url} in a browser.`);
    return;
  }
  const [command, ...rest] = opener;
  const child = spawn(command, [...rest, url], {
    stdio: "ignore",
    detached: true,
    env: withoutSecrets(env),
  });
  child.on("error", () => complain(`No browser could be opened; open ${url} yourself.`));
  child.unref();
}
