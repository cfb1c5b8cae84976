import type { MemoryAlternative } from "../errors.js";
import { type Bits, loadOptions, type MemoryPolicy } from "../options/index.js";

/** The settings of a generation that can be changed to save memory. */
export interface MemorySettings {
  readonly memory: MemoryPolicy;
  /** Bits of quantized matrices; null for weights that are not quantized. */
  readonly bits: Bits | null;
  readonly width: number;
  readonly height: number;
}

/** Bits to try, in order of increasing loss of quality. */
const bitWidths: readonly Bits[] = loadOptions.quantize.kind.values
  .filter((bits) => bits !== "none")
  .sort((a, b) => b - a);

/** Bits of weights that are not quantized. */
const unquantizedBits = 16;

/** Lengths in pixels to try for the longer side. */
const smallerSides = [1024, 768, 512, 256];

/**
 * Finds the smallest changes that make a generation fit: first the memory policy and the bits at the requested size,
 * then the same at smaller sizes of the same proportions.
 * @param peakWith estimates the peak of a generation with other settings, in bytes.
 * @param options.available bytes that the generation may take.
 * @param options.bitsAreFixed the weights are stored quantized, so their bits cannot change.
 * @param options.sizeMultiple width and height must be multiples of this number of pixels.
 * @returns for each memory policy that helps, the change that loses the least quality; empty if nothing helps.
 */
export function findAlternatives(
  settings: MemorySettings,
  peakWith: (settings: MemorySettings) => number,
  options: { readonly available: number; readonly bitsAreFixed: boolean; readonly sizeMultiple: number },
): MemoryAlternative[] {
  const { available, bitsAreFixed, sizeMultiple } = options;
  const policies: MemoryPolicy[] = settings.memory === "low" ? ["low"] : ["resident", "low"];
  const fewerBits = bitsAreFixed ? [] : bitWidths.filter((bits) => bits < (settings.bits ?? unquantizedBits));
  for (const size of [settings, ...smallerSizes(settings, sizeMultiple)]) {
    const found: MemoryAlternative[] = [];
    for (const memory of policies) {
      for (const bits of [settings.bits, ...fewerBits]) {
        const changed = { memory, bits, width: size.width, height: size.height };
        const peak = peakWith(changed);
        if (peak > available) continue;
        found.push(changesFrom(settings, changed, peak));
        // With the same bits, no greater change is needed. With fewer bits, the first that fit lose the least.
        if (bits === settings.bits) return found;
        break;
      }
    }
    if (found.length > 0) return found;
  }
  return [];
}

interface Size {
  readonly width: number;
  readonly height: number;
}

/** Smaller sizes of the same proportions. */
function smallerSizes({ width, height }: Size, multiple: number): Size[] {
  const longer = Math.max(width, height);
  return smallerSides
    .filter((side) => side < longer)
    .map((side) => {
      const scaled = (length: number): number =>
        Math.max(multiple, Math.floor((length * side) / longer / multiple) * multiple);
      return { width: scaled(width), height: scaled(height) };
    });
}

/** The settings that differ. */
function changesFrom(before: MemorySettings, after: MemorySettings, peak: number): MemoryAlternative {
  const { memory, bits, width, height } = after;
  return {
    ...(memory !== before.memory && { memory }),
    ...(bits !== before.bits && bits !== null && { quantize: bits }),
    ...((width !== before.width || height !== before.height) && { width, height }),
    peak,
  };
}
