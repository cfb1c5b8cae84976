import type { FloatImage } from "../images/types.js";

/**
 * Colours a depth map from dark violet (far) through blue and green to yellow (near). Lightness rises evenly in OKLab
 * (B. Ottosson, "A perceptual color space for image processing", 2020), so equal steps of depth look equally large.
 * @param map one channel
 * @returns RGB, 8 bits
 */
export function toColours(map: FloatImage): Uint8Array {
  const out = new Uint8Array(map.data.length * 3);
  for (const [i, value] of map.data.entries()) {
    const shade = Math.round(value * (shades - 1)) * 3;
    out.set(palette().subarray(shade, shade + 3), i * 3);
  }
  return out;
}

const shades = 1024;
let cachedPalette: Uint8Array | null = null;

function palette(): Uint8Array {
  cachedPalette ??= Uint8Array.from(
    Array.from({ length: shades }, (_, i) => colourOf(i / (shades - 1))).flat(),
  );
  return cachedPalette;
}

function colourOf(value: number): number[] {
  const lightness = 0.2 + 0.73 * value;
  const hue = ((305 - 200 * value) * Math.PI) / 180;
  // The highest chroma that sRGB can show at this lightness, up to a limit.
  for (let chroma = 0.16; ; chroma -= 0.002) {
    const rgb = fromOklab(lightness, chroma * Math.cos(hue), chroma * Math.sin(hue));
    if (chroma <= 0 || rgb.every((c) => c >= 0 && c <= 1))
      return rgb.map((c) => Math.round(255 * toSrgb(Math.min(Math.max(c, 0), 1))));
  }
}

/** OKLab to linear sRGB. */
function fromOklab(lightness: number, a: number, b: number): [number, number, number] {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
}

const toSrgb = (linear: number): number =>
  linear <= 0.0031308 ? 12.92 * linear : 1.055 * linear ** (1 / 2.4) - 0.055;
