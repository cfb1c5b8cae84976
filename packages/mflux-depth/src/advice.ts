/*
 * Phrases remedies as sentences. A front end supplies its own terms: flags, properties, form fields. The library's own
 * terms are the names of options.
 */
import type { Remedy } from "./errors.js";

/** How a front end phrases what a user can do, without a full stop; null for something that it does not offer. */
export interface Terms {
  /** "set steps to 20"; without a value, the user knows which. */
  readonly set: (option: string, value: string | number | boolean | undefined) => string | null;
  /** "omit steps". */
  readonly omit: (option: string) => string | null;
  /** Phrases the other remedies. */
  readonly other: (remedy: Exclude<Remedy, { kind: "set-option" | "omit-option" }>) => string | null;
}

/** One sentence for each remedy that the front end offers. */
export const phraseRemedies = (remedies: readonly Remedy[] = [], terms: Terms): string[] =>
  remedies.flatMap((remedy) => {
    const phrase = phraseOf(remedy, terms);
    return phrase === null ? [] : [`${phrase[0]!.toUpperCase()}${phrase.slice(1)}.`];
  });

function phraseOf(remedy: Remedy, terms: Terms): string | null {
  if (remedy.kind !== "set-option" && remedy.kind !== "omit-option") return terms.other(remedy);
  const { option, condition } = remedy;
  const action = remedy.kind === "omit-option" ? terms.omit(option) : terms.set(option, remedy.value);
  if (action === null) return null;
  const purpose = remedy.kind === "set-option" && remedy.purpose ? ` to ${remedy.purpose}` : "";
  return `${condition ? `if ${condition}, ` : ""}${action}${purpose}`;
}

/** The library's own terms: names of options. */
const optionTerms: Terms = {
  set: (option, value) =>
    value === undefined || value === true ? `set ${option}` : `set ${option} to ${value}`,
  omit: (option) => `omit ${option}`,
  other: () => null,
};

/** A message with its remedies in the names of options, for results and logs that hold sentences alone. */
export const inOptions = ({
  message,
  remedies,
}: {
  readonly message: string;
  readonly remedies?: readonly Remedy[] | undefined;
}): string => [message, ...phraseRemedies(remedies, optionTerms)].join(" ");

/** A message with a full stop, ready for further sentences. */
export const asSentence = (message: string): string => (/[.!?]$/.test(message) ? message : `${message}.`);
