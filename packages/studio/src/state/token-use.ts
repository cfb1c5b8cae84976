/* Whether the server asks for a token. A later visit only knows from here: the session's cookie cannot be read. */
import { recall, remember } from "./storage.js";

const name = "uses-token";

export const usesToken = (): boolean => recall<boolean>(name) ?? false;

/** Called when the server has accepted its token. */
export const noteToken = (): void => remember(name, true);
