/*
 * The layers of a model under the names that adapter files use. Model families supply the names; nothing here depends
 * on a model.
 */

/** A part of a fused layer: the layer of the model that its next rows belong to. */
export interface TargetPart {
  /** The path in its component of a Linear layer, "transformerBlocks.0.attn.toQ", or of a parameter. */
  readonly path: string;
  readonly rows: number;
}

/** The layers that an adapter's module changes: one, or several that the format stores as one. */
export interface AdapterTarget {
  /** The component's folder: "transformer". */
  readonly component: string;
  /** In the order of the rows. */
  readonly parts: readonly TargetPart[];
  readonly columns: number;
  /** The number of inputs of this layer in the base model; added inputs follow them. */
  readonly earlierColumns?: number | undefined;
  /** The programs that write such names: "ComfyUI, ai-toolkit". */
  readonly writtenBy: string;
  /** Whether the file has the halves of the rows in the other order. */
  readonly swapsHalves?: boolean | undefined;
}

/** Parameters that an adapter file has a new value for. */
export interface Replacement {
  readonly component: string;
  /** The parameters, or those that the file has as one: "transformerBlocks.0.attn.normQ.weight", in the order of the rows. */
  readonly parts: readonly TargetPart[];
  /** The shape of the file's tensor. */
  readonly shape: readonly number[];
  /** Whether the file has the halves of the rows in the other order. */
  readonly swapsHalves?: boolean | undefined;
  /** Whether it belongs to a control LoRA; it then stays in the model even at scale 0. */
  readonly isControl?: boolean | undefined;
}

/** Resolves the names of adapter files for one model. */
export interface AdapterNames {
  find(name: string): AdapterTarget | undefined;
  /** The parameter outside the layers of {@link find} that a key's tensor replaces; undefined if it replaces none. */
  replacement(key: string): Replacement | undefined;
  /** Says which other model a name belongs to: "Stable Diffusion XL"; null if it is not known. */
  otherModel(name: string): string | null;
}

/** How a format spells the names of layers. */
export interface Spelling {
  readonly prefix: string;
  /** What stands between the parts of a name. */
  readonly separator: "." | "_";
  /** The programs that use it. */
  readonly writtenBy: string;
}

/**
 * A table of all spellings of a model's layers. Names with underscores are looked up, because they cannot be split
 * reliably: "to_out_0" is "to_out.0", but "to_q" is "to_q".
 */
export class NameTable {
  readonly #targets = new Map<string, AdapterTarget>();

  /** Adds a layer in several spellings. */
  add(name: string, target: Omit<AdapterTarget, "writtenBy">, spellings: readonly Spelling[]): void {
    for (const { prefix, separator, writtenBy } of spellings)
      this.#targets.set(prefix + name.replaceAll(".", separator), { ...target, writtenBy });
  }

  find(name: string): AdapterTarget | undefined {
    return this.#targets.get(name);
  }
}

/** Rows of all parts. */
export const rowsOf = ({ parts }: AdapterTarget): number => parts.reduce((sum, { rows }) => sum + rows, 0);
