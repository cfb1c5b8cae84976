/** Frees a bitmap that the state no longer has, once the views have been drawn without it: they do that in a microtask. */
export function release(bitmap: ImageBitmap | null): void {
  if (bitmap) setTimeout(() => bitmap.close());
}
