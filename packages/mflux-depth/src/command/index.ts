/** The parts of a command, for the commands of other packages too: its streams, and flags read by tables of options. */

export { withoutSecrets, withoutServiceTokens } from "../secrets.js";
export type { Command, Io } from "./command.js";
export { describeFlags } from "./flag-help.js";
export { type Flags, type FlagValues, parseFlags, pick, refusePositionals } from "./flags.js";
export { listenError } from "./listening.js";
