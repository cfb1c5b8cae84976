/* Says in words why a file or folder cannot be used. */

const reasons: Readonly<Record<string, string>> = {
  EACCES: "you do not have permission",
  EPERM: "you do not have permission",
  SQLITE_PERM: "you do not have permission",
  EROFS: "the disk is read-only",
  SQLITE_READONLY: "the disk is read-only",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk is full",
  SQLITE_FULL: "the disk is full",
  ENOENT: "it does not exist",
  ENOTDIR: "its path leads through a file, not a folder",
  EEXIST: "it is a file, not a folder",
  EISDIR: "it is a folder",
  ELOOP: "it is a link that leads back to itself",
  ENAMETOOLONG: "its name is too long",
};

/** A clause about an error of the file system or of SQLite, without a full stop; null for other errors. */
export function reasonOf(error: unknown): string | null {
  const { code = "", message } = error as NodeJS.ErrnoException;
  if (!/^(E[A-Z]+|SQLITE_\w+)$/.test(code)) return null;
  return reasons[code] ?? (message.startsWith(code) ? message : `${message} (${code})`);
}
