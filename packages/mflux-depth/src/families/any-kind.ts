import { ModelError } from "../errors.js";
import type { NeededFiles, RepositoryKind } from "../hub/kind.js";

/**
 * Combines the kinds of several families into one that accepts whatever any of them accepts. First, the kinds with the
 * fewest missing files are selected by file names; then the small files decide whose weights are needed. If several
 * match equally, the first wins.
 */
export function anyOf(kinds: readonly RepositoryKind[]): RepositoryKind {
  const probe = kinds.find((kind) => kind.probe !== undefined)?.probe;
  return {
    name: kinds.map(({ name }) => name).join(" or "),
    // Only the folders that every kind requires.
    folders: kinds
      .map(({ folders = [] }) => folders)
      .reduce((common, folders) => common.filter((folder) => folders.includes(folder))),
    ...(probe !== undefined && { probe }),
    needed: (names, variant) => neededByAny(kinds, names, variant),
    checkName: (repository) =>
      requireOne(
        repository,
        kinds.map((kind) => () => kind.checkName?.(repository)),
      ),
    check: (repository, folder, small) =>
      requireOne(
        repository,
        kinds.map((kind) => () => kind.check?.(repository, folder, small)),
      ),
  };
}

function neededByAny(
  kinds: readonly RepositoryKind[],
  names: readonly string[],
  variant: string | undefined,
): NeededFiles {
  const choices = kinds.map((kind) => ({ kind, needed: kind.needed(names, variant) }));
  const fewest = Math.min(...choices.map(({ needed }) => needed.missing.length));
  const best = choices.filter(({ needed }) => needed.missing.length === fewest);
  const first = best[0]!.needed;
  return {
    small: [...new Set(best.flatMap(({ needed }) => needed.small))],
    missing: first.missing,
    weights(folder) {
      const accepts = ({ kind, needed }: (typeof best)[number]): boolean =>
        refusalBy(() => kind.check?.(folder, folder, needed.small)) === null;
      return (best.find(accepts)?.needed ?? first).weights(folder);
    },
  };
}

/** @throws {ModelError} the first refusal, with the repository as its source, if every check refuses. */
function requireOne(repository: string, checks: readonly (() => void)[]): void {
  const refusals = checks.map(refusalBy);
  const [first] = refusals;
  if (!first || refusals.includes(null)) return;
  throw new ModelError(repository, first.message.slice(`${first.source}: `.length), {
    code: first.code,
    details: { ...first.details, source: repository },
    cause: first,
  });
}

function refusalBy(check: () => void): ModelError | null {
  try {
    check();
    return null;
  } catch (error) {
    if (error instanceof ModelError) return error;
    throw error;
  }
}
