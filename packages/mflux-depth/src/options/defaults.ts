/** The Hub repository of the model, unless another is named. */
export const defaultModel = "black-forest-labs/FLUX.1-Depth-dev";

/** The Hub repository of the depth estimator, unless another is named. */
export const defaultDepthModel = "apple/DepthPro-hf";
