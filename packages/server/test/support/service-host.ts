/*
 * A process that opens the given data folder, and submits the jobs that its parent sends. It reports events to its
 * parent until it is killed.
 */
import { JobService } from "../../src/jobs/service.js";
import { generation } from "./service.js";
import type { FromHost, ToHost } from "./service-process.js";

const tell = (message: FromHost): void => void process.send!(message);

const service = await JobService.open({ folder: process.argv[2]!, load: { model: "tiny-world" } });
service.subscribe(null, (event) => tell({ type: "event", event }));
process.on("message", (message: ToHost) => {
  if (message.type === "close") void service.close().then(() => process.disconnect());
  else
    void generation(service, message.options)
      .then((body) => service.submit(body))
      .then(({ job }) => tell({ type: "submitted", id: job.id }));
});
tell({ type: "opened" });
