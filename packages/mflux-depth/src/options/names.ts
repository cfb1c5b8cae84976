/* Names of options: camelCase in the library, snake_case in JSON and in NodeTool. */

/** "depthImage" → "depth_image". */
export const toJsonName = (option: string): string =>
  option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** "depth_image" → "depthImage". */
export const toOptionName = (name: string): string =>
  name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());

/** The same values under the names of the library. */
export const toOptionNames = <T>(json: Readonly<Record<string, T>>): Record<string, T> =>
  Object.fromEntries(Object.entries(json).map(([name, value]) => [toOptionName(name), value]));
