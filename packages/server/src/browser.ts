import { spawn } from "node:child_process";

/** The command that opens an address, by platform. */
const openers: Readonly<Partial<Record<NodeJS.Platform, readonly [string, ...string[]]>>> = {
  darwin: ["open"],
  linux: ["xdg-open"],
};

/** Opens an address in the user's browser. @param complain told when that is not possible. */
export function openInBrowser(url: string, complain: (message: string) => void): void {
  const opener = openers[process.platform];
  if (opener === undefined) {
    complain(`Open ${url} in a browser.`);
    return;
  }
  const [command, ...rest] = opener;
  const child = spawn(command, [...rest, url], { stdio: "ignore", detached: true });
  child.on("error", () => complain(`No browser could be opened; open ${url} yourself.`));
  child.unref();
}
