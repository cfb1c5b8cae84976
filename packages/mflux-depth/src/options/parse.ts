import { OptionError } from "../errors.js";
import { checkOption, refusal } from "./check.js";
import type { OptionKind } from "./kinds.js";

/**
 * Reads a value written as text, on a command line or in a form, and checks it. Numbers are decimal; images and tensors
 * are paths and are returned unchanged.
 * @throws {OptionError} naming the option, the text and the values it may have.
 */
export function parseOption(name: string, kind: OptionKind, text: string): unknown {
  switch (kind.type) {
    case "integer":
    case "number": {
      if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text.trim()))
        throw refusal(name, kind, text, "option-invalid");
      return checkOption(name, kind, Number(text));
    }
    case "choice": {
      const value = kind.values.find((one) => `${one}` === text.trim().toLowerCase());
      if (value === undefined) throw refusal(name, kind, text, "option-out-of-range");
      return value;
    }
    case "boolean":
      if (text !== "true" && text !== "false") throw refusal(name, kind, text, "option-invalid");
      return text === "true";
    case "image":
    case "tensor":
      if (text.trim() === "")
        throw new OptionError(name, `${name} must be the path of a file; it is blank.`, {
          details: { value: text, expected: "the path of a file" },
        });
      return text;
    case "adapters":
      return checkOption(name, kind, [text]);
    case "numbers":
      return checkOption(name, kind, text.split(",").map(Number));
    case "model":
    case "text":
      return checkOption(name, kind, text);
  }
}
