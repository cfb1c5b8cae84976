import { useEffect, useState } from "preact/hooks";
import type { DepthPainting } from "../brush/painting.js";

/** Renders again after a painting changes, at most once a frame. @returns its revision */
export function useRevision(painting: DepthPainting): number {
  const [, setCount] = useState(0);
  useEffect(() => {
    let frame: number | null = null;
    const unsubscribe = painting.subscribe(() => {
      frame ??= requestAnimationFrame(() => {
        frame = null;
        setCount((count) => count + 1);
      });
    });
    return () => {
      unsubscribe();
      if (frame !== null) cancelAnimationFrame(frame);
    };
  }, [painting]);
  return painting.revision;
}
