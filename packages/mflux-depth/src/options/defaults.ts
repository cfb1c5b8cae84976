/** The default Hub repository of the model. */
export const defaultModel = "black-forest-labs/FLUX.1-Depth-dev";

/** The maximum number of prompt tokens that T5 reads: the length used in training FLUX.1. */
export const longestPrompt = 512;

/** The maximum number of characters of a prompt: about ten times what the encoders read of a text with long words. */
export const longestPromptText = 20_000;

/** The maximum number of pixels of an image that is read. */
export const mostPixels = 100_000_000;

/** The share of steps skipped when a photo guides the content in addition to a depth map. */
export const defaultStrength = 0.3;

/** The default Hub repository of the depth estimator. */
export const defaultDepthModel = "apple/DepthPro-hf";
