/* A process that holds the lock of the data folder it is given, until it is killed. */
import { lockFolder } from "../../src/data-folder/lock.js";

lockFolder(process.argv[2]!);
process.send!("locked");
setInterval(() => {}, 60_000);
