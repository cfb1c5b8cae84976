// Shows a test run's progress: on a terminal in one line that is overwritten, otherwise in a new line from time to
// time.
import { testTitle } from "./test-report.mjs";

/** Interval of progress lines without a terminal, in milliseconds. */
const INTERVAL = 60_000;

/** @param count the number of test files */
export function showProgress(count) {
  const terminal = process.stdout.isTTY;
  let ended = 0;
  const line = () => `${ended} of ${count} test files`;
  const clear = () => terminal && process.stdout.write("\r\x1b[K");
  const show = () => terminal && process.stdout.write(line());
  const timer = terminal ? undefined : setInterval(() => console.log(line()), INTERVAL);
  show();
  return {
    fileEnded() {
      ended++;
      clear();
      show();
    },
    failed(file, name) {
      clear();
      console.log(`FAILED ${testTitle(file, name)}`);
      show();
    },
    end() {
      clearInterval(timer);
      clear();
    },
  };
}
