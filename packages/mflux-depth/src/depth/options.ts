import { type LoadOptions, loadOptions, optionsFor } from "../options/index.js";

// The caller chooses the device before anything is loaded, and whether files may be downloaded.
const { device: _device, offline: _offline, ...table } = optionsFor(loadOptions, "depth");
const names = Object.keys(table) as (keyof typeof table)[];

/** The load options that choose a depth estimator and how its weights are held and multiplied. */
export type EstimatorOptions = Pick<LoadOptions, keyof typeof table>;

/** Picks the depth estimator's options from those of a model. */
export const estimatorOptionsOf = (options: LoadOptions): EstimatorOptions =>
  Object.fromEntries(names.map((name) => [name, options[name]]));
