import type { MemoryAlternative } from "../errors.js";
import type { Bits, MemoryPolicy } from "../options/index.js";

/** What can be changed to save memory. */
export interface MemorySettings {
  readonly memory: MemoryPolicy;
  /** Bits of quantized matrices; null for weights that are not quantized. */
  readonly bits: Bits | null;
  readonly width: number;
  readonly height: number;
}

/** From the least loss of quality to the most. */
const bitWidths: readonly Bits[] = [8, 6, 5, 4, 3];

/** Lengths of the larger side. */
const smallerSides = [1024, 768, 512, 256];

/**
 * Finds the smallest changes that make a generation fit: first the memory policy and the bits at the requested size,
 * then the same at smaller sizes of the same proportions.
 * @param peakWith the peak of a generation with other settings, in bytes.
 * @param options.bitsAreFixed true for weights that are stored quantized.
 */
export function findAlternatives(
  settings: MemorySettings,
  peakWith: (settings: MemorySettings) => number,
  { available, bitsAreFixed }: { readonly available: number; readonly bitsAreFixed: boolean },
): MemoryAlternative[] {
  const policies: MemoryPolicy[] = settings.memory === "low" ? ["low"] : ["resident", "low"];
  const fewerBits = bitsAreFixed ? [] : bitWidths.filter((bits) => bits < (settings.bits ?? 16));
  for (const size of [settings, ...smallerSizes(settings)]) {
    const found: MemoryAlternative[] = [];
    for (const memory of policies) {
      for (const bits of [settings.bits, ...fewerBits]) {
        const changed = { memory, bits, width: size.width, height: size.height };
        const peak = peakWith(changed);
        if (peak > available) continue;
        found.push(changesFrom(settings, changed, peak));
        // Without fewer bits nothing smaller is needed; with fewer, the first that fit lose the least.
        if (bits === settings.bits) return found;
        break;
      }
    }
    if (found.length > 0) return found;
  }
  return [];
}

/** Smaller sizes of the same proportions, in multiples of 16 pixels. */
function smallerSizes({ width, height }: MemorySettings): { width: number; height: number }[] {
  const longest = Math.max(width, height);
  return smallerSides
    .filter((side) => side < longest)
    .map((side) => {
      const scaled = (length: number): number =>
        Math.max(16, Math.floor((length * side) / longest / 16) * 16);
      return { width: scaled(width), height: scaled(height) };
    });
}

function changesFrom(before: MemorySettings, after: MemorySettings, peak: number): MemoryAlternative {
  const { memory, bits, width, height } = after;
  return {
    ...(memory !== before.memory && { memory }),
    ...(bits !== before.bits && bits !== null && { quantize: bits }),
    ...((width !== before.width || height !== before.height) && { width, height }),
    peak,
  };
}
