import type { Engine } from "mflux-depth/engine";
import { engineLoadOf } from "../requests/engine-job.js";
import { serviceErrorOf } from "../requests/failure.js";
import { type Defaults, loadOfKey } from "../requests/resolve.js";

/** A small image: a model that cannot make larger ones still runs here. */
const smallest = { prompt: "depth", depthImage: new Uint8Array(1), width: 256, height: 256 } as const;

/**
 * Looks whether a model is on this machine and fits into its memory.
 * @param model the key of a model, as jobs have it.
 * @returns why it cannot run here, without anything that changes from minute to minute; null if it can.
 */
export async function whyNotHere(
  model: string,
  { engine, defaults }: { readonly engine: Engine; readonly defaults: Defaults },
): Promise<string | null> {
  try {
    const { fits, peak } = await engine.planJob({
      load: engineLoadOf(loadOfKey(model), defaults),
      request: smallest,
    });
    return fits ? null : `It needs ${(peak / 1e9).toFixed(1)} GB of memory.`;
  } catch (error) {
    return serviceErrorOf(error, "load").message;
  }
}
