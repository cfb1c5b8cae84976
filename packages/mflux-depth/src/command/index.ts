/** Building blocks of commands, also for other packages: streams, and flags read from tables of options. */

export { withoutSecrets, withoutServiceTokens } from "../secrets.js";
export type { Command, Io } from "./command.js";
export { describeFlags } from "./flag-help.js";
export { type Flags, type FlagValues, parseFlags, pick, refusePositionals } from "./flags.js";
export { listenError } from "./listening.js";
