/* NodeTool's description of nodes: the answer to `discover` and the output of `--describe`. */

/** A type in NodeTool's metadata. */
export interface TypeMetadata {
  readonly type: string;
  readonly optional?: boolean;
  readonly values?: readonly (string | number)[];
  readonly type_args: readonly TypeMetadata[];
  readonly type_name?: string;
}

export interface PropertyMetadata {
  readonly name: string;
  readonly type: TypeMetadata;
  readonly default: unknown;
  readonly title: string;
  readonly description: string;
  readonly min?: number;
  readonly max?: number;
}

export interface OutputMetadata {
  readonly name: string;
  readonly type: TypeMetadata;
}

export interface NodeMetadata {
  readonly node_type: string;
  readonly title: string;
  readonly namespace: string;
  readonly layout: string;
  readonly description: string;
  readonly properties: readonly PropertyMetadata[];
  readonly outputs: readonly OutputMetadata[];
  readonly recommended_models: readonly Readonly<Record<string, unknown>>[];
  /** The names of settings whose values hosts send with a run. */
  readonly required_settings: readonly string[];
  /** How the application draws the node: as a card with its result. */
  readonly body: string;
  readonly basic_fields: readonly string[];
  readonly inline_fields: readonly string[];
  readonly input_fields: readonly string[];
  readonly expose_as_tool: boolean;
  readonly is_streaming_output: boolean;
  readonly is_streaming_input: boolean;
  readonly is_dynamic: boolean;
}
