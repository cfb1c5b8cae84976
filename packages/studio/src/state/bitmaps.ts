/**
 * Frees a bitmap that the state no longer has, after the views have been drawn without it, which happens in a
 * microtask.
 */
export function release(bitmap: ImageBitmap | null): void {
  if (bitmap) setTimeout(() => bitmap.close());
}
