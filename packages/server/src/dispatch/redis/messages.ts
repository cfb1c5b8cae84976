/** What instances tell each other. */
export type Message =
  /** Something may be taken. Says how many instances hear it. */
  | { readonly type: "look"; readonly listeners: number }
  | { readonly type: "cancelled"; readonly id: string }
  | { readonly type: "lost"; readonly id: string; readonly attempt: number };

/** @returns null for a message that this version does not know. */
export function readMessage(text: string): Message | null {
  try {
    const message = JSON.parse(text) as Message;
    return ["look", "cancelled", "lost"].includes(message.type) ? message : null;
  } catch {
    return null;
  }
}
