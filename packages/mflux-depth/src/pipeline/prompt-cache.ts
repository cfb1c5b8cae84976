import type { PromptEmbeddings } from "../families/family.js";
import { LastArtifact } from "./last-artifact.js";

/** Keeps and owns the embeddings of the last prompt. */
export class PromptCache extends LastArtifact<PromptEmbeddings> {}
