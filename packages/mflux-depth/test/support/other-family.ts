import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ModelError } from "../../src/errors.js";
import type { Candidate } from "../../src/families/identify.js";
import type { RepositoryKind } from "../../src/hub/kind.js";
import { FileSelection } from "../../src/weights/file-selection.js";

/** The pipeline of the other family, as its model_index.json names it. */
export const otherPipeline = "OtherPipeline";

const refusal = (folder: string): ModelError | null => {
  const text = readFileSync(join(folder, "model_index.json"), "utf8");
  return text.includes(otherPipeline) ? null : new ModelError(folder, "this is not an Other model");
};

/** A family whose models look like FLUX.1 Depth's, except for the pipeline's name and one more file. */
export const otherKind: RepositoryKind = {
  name: "Other",
  folders: ["transformer"],
  needed(names, variant) {
    const selection = new FileSelection(names, variant);
    selection.take("", "model_index.json");
    selection.take("other", "config.json");
    selection.takeWeights("transformer");
    selection.takeWeights("other");
    return selection;
  },
  check(_, folder) {
    const reason = refusal(folder);
    if (reason) throw reason;
  },
};

export const otherFamily: Candidate = {
  id: "other",
  kind: otherKind,
  denoising: { component: "transformer" },
  isCandidate: () => true,
  refusal,
};
