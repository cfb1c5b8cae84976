/** The smallest request that the bundled model accepts. Its map is a gradient, because flat maps are refused. */
export const smallRequest = {
  prompt: "a red cube",
  depthImage: {
    data: Uint8Array.from({ length: 64 * 64 }, (_, i) => 4 * (i % 64)),
    width: 64,
    height: 64,
    channels: 1,
  },
  width: 64,
  height: 64,
  steps: 1,
  seed: 1,
} as const;
