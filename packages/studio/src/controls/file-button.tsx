import type { ComponentChildren } from "preact";
import { useRef } from "preact/hooks";

interface FileButtonProps {
  readonly class: string;
  /** Opens the camera if there is one. */
  readonly camera?: boolean;
  readonly label?: string;
  readonly onFile: (file: File) => void;
  readonly children: ComponentChildren;
}

/** A button that asks for a picture. */
export function FileButton({ class: style, camera = false, label, onFile, children }: FileButtonProps) {
  const input = useRef<HTMLInputElement>(null);
  return (
    <>
      <button type="button" class={style} aria-label={label} onClick={() => input.current?.click()}>
        {children}
      </button>
      <input
        ref={input}
        type="file"
        accept="image/*"
        capture={camera ? "environment" : undefined}
        hidden
        onChange={({ currentTarget }) => {
          const file = currentTarget.files?.[0];
          // The same file may be chosen again.
          currentTarget.value = "";
          if (file) onFile(file);
        }}
      />
    </>
  );
}
