import { LocalDispatcher } from "../../src/dispatch/local.js";
import { dispatcherContract } from "../support/dispatcher-contract.js";

dispatcherContract("LocalDispatcher", async (t, { leaseMs }) => {
  const dispatcher = new LocalDispatcher({ leaseMs });
  t.after(() => dispatcher.close());
  return dispatcher;
});
