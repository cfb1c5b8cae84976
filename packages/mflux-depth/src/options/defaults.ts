/** The Hub repository of the model, unless another is named. */
export const defaultModel = "black-forest-labs/FLUX.1-Depth-dev";

/** The most tokens of a prompt that T5 reads: the length that FLUX.1 was trained with. */
export const longestPrompt = 512;

/** The most characters of a prompt: about ten times what the encoders read of a text with long words. */
export const longestPromptText = 20_000;

/** The share of steps skipped when a photo guides the content next to a depth map. */
export const defaultStrength = 0.3;

/** The Hub repository of the depth estimator, unless another is named. */
export const defaultDepthModel = "apple/DepthPro-hf";
