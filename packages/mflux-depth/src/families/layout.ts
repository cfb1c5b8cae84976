/**
 * The folder of the denoising network in the layout of diffusers. Its files show what a model is, and how its weights are
 * stored, before the family is known.
 */
export const denoiserFolder = "transformer";
