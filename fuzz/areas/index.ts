import type { Area } from "../area.js";

/** The areas by name; a module is loaded only when it is used. */
export const areas: Readonly<Record<string, () => Promise<Area>>> = {
  images: async () => (await import("./images.js")).images,
  models: async () => (await import("./models.js")).models,
  prompts: async () => (await import("./prompts.js")).prompts,
  library: async () => (await import("./library.js")).library,
  flags: async () => (await import("./flags.js")).flags,
  worker: async () => (await import("./worker.js")).worker,
  signals: async () => (await import("./signals.js")).signals,
  hub: async () => (await import("./hub.js")).hub,
};
