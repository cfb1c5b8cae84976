/** The objects of the HTTP interface, for the server and its clients. Types and names only: a page can import it. */
export {
  durableEvents,
  type EventData,
  type EventName,
  type JobEvent,
  type StreamData,
  terminalEvents,
} from "./event.js";
export * from "./job.js";
export * from "./objects.js";
