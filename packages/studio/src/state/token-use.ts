/* Remembers that the server asks for a token, because the page cannot read the session's cookie. */
import { recall, remember } from "./storage.js";

const name = "uses-token";

export const usesToken = (): boolean => recall<boolean>(name) ?? false;

/** Called when the server has accepted its token. */
export const noteToken = (): void => remember(name, true);
