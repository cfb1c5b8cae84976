import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { takeFile, takingError } from "../state/pictures.js";
import { strings } from "../strings.js";

/** Accepts pictures dropped anywhere on the page or pasted. */
export function DropTarget({ children }: { readonly children: ComponentChildren }) {
  const over = useSignal(false);
  useEffect(() => {
    const paste = (event: ClipboardEvent): void => {
      const file = pictureIn(event.clipboardData);
      if (!file) return;
      event.preventDefault();
      void takeFile(file);
    };
    document.addEventListener("paste", paste);
    return () => document.removeEventListener("paste", paste);
  }, []);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: dropping has other ways next to it, by pointer and by keyboard
    <div
      class="drop-target"
      onDragOver={(event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        over.value = true;
      }}
      onDragLeave={({ relatedTarget }) => {
        if (relatedTarget === null) over.value = false;
      }}
      onDrop={(event) => {
        event.preventDefault();
        over.value = false;
        const file = pictureIn(event.dataTransfer);
        if (file) void takeFile(file);
        else if (event.dataTransfer?.files.length) takingError.value = "unreadable";
      }}
    >
      {children}
      {over.value && (
        <div class="drop-veil" aria-hidden="true">
          {strings.welcome.dropHere}
        </div>
      )}
    </div>
  );
}

const pictureIn = (data: DataTransfer | null): File | undefined =>
  Array.from(data?.files ?? []).find(({ type }) => type === "" || type.startsWith("image/"));
