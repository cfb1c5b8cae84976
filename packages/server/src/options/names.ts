/*
 * Names of options: camelCase in the library, snake_case in JSON.
 */

/** "depthImage" → "depth_image". */
export const toJsonName = (option: string): string =>
  option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** "depth_image" → "depthImage". */
export const toOptionName = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** The same values under the names of JSON. */
export const toJsonNames = <T>(options: Readonly<Record<string, T>>): Record<string, T> =>
  renamed(options, toJsonName);

/** The same values under the names of the library. */
export const toOptionNames = <T>(json: Readonly<Record<string, T>>): Record<string, T> =>
  renamed(json, toOptionName);

const renamed = <T>(
  values: Readonly<Record<string, T>>,
  rename: (name: string) => string,
): Record<string, T> =>
  Object.fromEntries(Object.entries(values).map(([name, value]) => [rename(name), value]));
