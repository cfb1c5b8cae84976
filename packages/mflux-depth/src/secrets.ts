/* Limits the environment of child processes and other programs. Only those that send or check a token get it. */

/** The tokens that callers of a server or worker must send, and the address of Redis, which contains its password. */
const serviceTokens = [
  "MFLUX_DEPTH_TOKEN",
  "MFLUX_DEPTH_WORKER_TOKEN",
  "MFLUX_DEPTH_REDIS",
  "NODETOOL_WORKER_TOKEN",
];

/** The token for the Hub, under its names. */
const hubTokens = ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"];

/** An environment for processes that download models: without the tokens of the service that starts them. */
export const withoutServiceTokens = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  without(env, serviceTokens);

/** An environment for all other processes: without any tokens. */
export const withoutSecrets = (env: NodeJS.ProcessEnv): NodeJS.ProcessEnv =>
  without(env, [...serviceTokens, ...hubTokens]);

function without(env: NodeJS.ProcessEnv, names: readonly string[]): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !names.includes(name.toUpperCase())));
}
