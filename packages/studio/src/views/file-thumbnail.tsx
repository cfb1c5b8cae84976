import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { fileOf } from "../state/pictures.js";

/** A thumbnail of one of the draft's pictures. */
export function FileThumbnail({ id }: { readonly id: string }) {
  const url = useSignal<string | null>(null);
  useEffect(() => {
    let current = true;
    let made: string | null = null;
    void fileOf(id).then(
      (file) => {
        if (!current) return;
        made = URL.createObjectURL(file);
        url.value = made;
      },
      // The depth panel reports a missing picture.
      () => undefined,
    );
    return () => {
      current = false;
      if (made) URL.revokeObjectURL(made);
    };
  }, [id]);
  return <img class="thumbnail" src={url.value ?? undefined} alt="" />;
}
