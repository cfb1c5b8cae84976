import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { describe, test } from "node:test";
import { downloadOn, duration, progressOn } from "../../src/cli/progress.js";

/** The output of a stage with three of four steps. */
function shown(terminal: boolean): string {
  const stderr = Object.assign(new PassThrough(), { isTTY: terminal, columns: 60 });
  const progress = progressOn({
    stdin: new PassThrough(),
    stdout: new PassThrough(),
    stderr,
    env: {},
    signal: new AbortController().signal,
  });
  progress.stage("denoising");
  progress.status("reading transformer, 23.8 GB");
  progress.step(1, 4, 9);
  progress.step(2, 4, 2);
  progress.step(3, 4, 3);
  progress.note("a sentence");
  progress.finish();
  return (stderr.read() as Buffer).toString();
}

describe("progress without a terminal", () => {
  test("is one line per event", () => {
    assert.match(
      shown(false),
      /^reading transformer, 23\.8 GB\ndenoising 1\/4: 9\.00 s, 27 s left\ndenoising 2\/4: 2\.00 s, 18 s left\ndenoising 3\/4: 3\.00 s, 3\.00 s left\na sentence\ndenoising: \d+\.\d\d s\n$/,
    );
  });
});

test("a download says what it waits for, and then how far it is", () => {
  const stderr = Object.assign(new PassThrough(), { isTTY: false });
  const io = {
    stdin: new PassThrough(),
    stdout: new PassThrough(),
    stderr,
    env: {},
    signal: new AbortController().signal,
  };
  const show = downloadOn(progressOn(io), io);
  const download = { component: "me/tiny", bytes: 2e9, bytesDone: 1e9, files: 4, filesDone: 2 };
  show(download);
  show({ ...download, waiting: { for: "more data from https://hub", seconds: 5.02 } });
  show(download);
  const done = "downloading me/tiny, 1.0 GB of 2.0 GB, 2 of 4 files";
  assert.equal(
    (stderr.read() as Buffer).toString(),
    `${done}\ndownloading me/tiny: waiting for more data from https://hub, 5 s so far\n${done}\n`,
  );
});

describe("progress on a terminal", () => {
  const text = shown(true);

  test("is a bar with the time of the median step", () => {
    assert.match(text, /█+░+/);
    assert.ok(text.includes("3/4  3.00 s a step  3.00 s left"));
  });

  test("is never wider than the terminal", () => {
    const screen = text.replaceAll("\x1b[2K", "").split(/[\r\n]/);
    for (const line of screen) assert.ok(line.length < 60, line);
  });

  test("leaves only notes and the stage's time", () => {
    assert.equal(text.match(/\n/g)?.length, 2);
  });
});

test("durations are in seconds, minutes or hours", () => {
  assert.deepEqual([0.123, 9.5, 59.4, 61, 3700].map(duration), [
    "0.12 s",
    "9.50 s",
    "59 s",
    "1 min 1 s",
    "1 h 1 min",
  ]);
});
