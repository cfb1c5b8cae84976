/* Advice on errors in flags and commands. Errors carry it as data; other front ends phrase it in their own terms. */
import { asSentence, phraseRemedies, type Terms } from "../advice.js";
import { describeBytes } from "../bytes.js";
import {
  type MemoryAlternative,
  MemoryError,
  type MfluxDepthError,
  OptionError,
  type Remedy,
} from "../errors.js";
import { loadOptions, type OptionSpec, requestOptions } from "../options/index.js";

const options: Readonly<Record<string, OptionSpec>> = { ...requestOptions, ...loadOptions };

const flagOf = (option: string): string => options[option]?.flags[0] ?? option;

/** An error's message, with flags in place of option names, and advice. */
export function messageWithAdvice(error: MfluxDepthError): string {
  const message = error instanceof OptionError ? withFlags(error.message) : error.message;
  const advice = [
    ...(error instanceof MemoryError ? [alternativesIn(error)] : []),
    ...adviceOn(error.details.remedies),
  ];
  return advice.length === 0 ? message : [asSentence(message), ...advice].join(" ");
}

/** Single words are left alone, because they are also English words. */
const optionName = new RegExp(
  `\\b(?:${Object.keys(options)
    .filter((name) => /[A-Z]/.test(name))
    .join("|")})\\b`,
  "g",
);

/** A message with flags in place of option names. */
export const withFlags = (message: string): string => message.replace(optionName, flagOf);

/** One sentence for each remedy. */
export const adviceOn = (remedies: readonly Remedy[] = []): string[] => phraseRemedies(remedies, flagTerms);

const flagTerms: Terms = {
  set: (option, value) => `use ${flagWith(option, value)}`,
  omit: (option) => `leave out ${flagOf(option)}`,
  other(remedy) {
    switch (remedy.kind) {
      case "download":
        return `download it now with ${downloadCommand(remedy)}`;
      case "inspect-machine":
        return "run mflux-depth doctor";
      case "reinstall":
        return `run \`${reinstallCommands[remedy.part]}\``;
      case "correct-variable":
        return `unset ${remedy.variable}, or correct it`;
    }
  },
};

/** The commands that reinstall parts of this package. */
export const reinstallCommands: Readonly<Record<Extract<Remedy, { kind: "reinstall" }>["part"], string>> = {
  mlx: "npm rebuild @mflux-depth/mlx --foreground-scripts",
  codec: "npm install --include=optional sharp",
  everything: "npm ci",
};

/** "mflux-depth download --model NAME": the command that downloads a model. */
export function downloadCommand({ model, option }: Extract<Remedy, { kind: "download" }>): string {
  const command = option === "depthModel" ? "mflux-depth download --only-depth" : "mflux-depth download";
  return option === undefined || model === options[option]?.default
    ? `\`${command}\``
    : `\`${command} ${flagOf(option)} ${model}\``;
}

const alternativesIn = ({ alternatives }: MemoryError): string =>
  alternatives.length === 0
    ? "No smaller setting would fit."
    : `It would fit with ${alternatives.map((one) => `${flagsFor(one)} (${describeBytes(one.peak)})`).join(", or with ")}.`;

/** "--memory low --quantize 3 --width 768 --height 768". */
export const flagsFor = ({ peak: _, ...settings }: MemoryAlternative): string =>
  Object.entries(settings)
    .map(([option, value]) => flagWith(option, value))
    .join(" ");

function flagWith(option: string, value: string | number | boolean | undefined): string {
  const spec = options[option];
  if (spec?.kind.type !== "boolean") return `${flagOf(option)} ${value ?? spec?.value ?? "VALUE"}`;
  const no = spec.flags.find((flag) => flag.startsWith("--no-"));
  return value === false ? (no ?? `${flagOf(option)}=false`) : flagOf(option);
}
