import { execFileSync } from "node:child_process";

/** Windows has no named pipes in folders. */
export const withoutPipes = process.platform === "win32" ? "needs mkfifo" : false;

/** Makes a named pipe, which no process writes to. */
export const makePipe = (path: string): void => void execFileSync("mkfifo", [path]);
