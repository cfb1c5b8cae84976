/*
 * A base class of the same shape as the SDK's, for hosts without the SDK.
 */
import { packDefinition as definition } from "./definition.js";
import { type NodeContext, type NodeInstance, optionsOf, type Properties } from "./sdk.js";

const declared = definition.properties.map((property) => ({
  name: property.name,
  options: optionsOf(property),
}));

/** The node's outputs and their types. */
export const outputTypes = Object.fromEntries(definition.outputs.map(({ name, type }) => [name, type.type]));

/** The members of the SDK's `BaseNode` that hosts use for this node. */
export class PlainNode implements NodeInstance {
  __node_id = "";
  readonly #values: Properties = {};

  constructor(properties: Properties = {}) {
    this.assign(properties);
  }

  static getDeclaredProperties(): typeof declared {
    return declared;
  }

  static getDeclaredOutputs(): Record<string, string> {
    return { ...outputTypes };
  }

  static toDescriptor(id: string = definition.node_type): Properties {
    return {
      id,
      type: definition.node_type,
      name: definition.title,
      is_streaming_input: definition.is_streaming_input,
      is_streaming_output: definition.is_streaming_output,
      propertyTypes: Object.fromEntries(declared.map(({ name, options }) => [name, options.type])),
      outputs: { ...outputTypes },
    };
  }

  /** Assigns the declared properties. Missing ones keep their value or get their default. */
  assign(properties: Properties): void {
    for (const { name, options } of declared) {
      if (Object.hasOwn(properties, name)) this.#values[name] = properties[name];
      else if (!Object.hasOwn(this.#values, name)) this.#values[name] = structuredClone(options.default);
    }
  }

  serialize(): Properties {
    return { ...this.#values };
  }

  toExecutor(): { process(inputs: Properties, context?: NodeContext): Promise<Properties> } {
    return {
      process: (inputs, context) => {
        this.assign(inputs);
        const node = this as unknown as { process(context?: NodeContext): Promise<Properties> };
        return node.process(context);
      },
    };
  }
}
