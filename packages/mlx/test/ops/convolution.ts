import * as mx from "../../src/index.js";
import { close, refuses } from "../support/assertions.js";
import { at, build, type Dense, layouts, noise, positions, toArray, within } from "../support/dense.js";

interface Settings {
  stride: number[];
  before: number[];
  after: number[];
  dilation: number[];
  inputDilation: number[];
  groups: number;
  flip: boolean;
}

/** Convolves by the definition: each output element is a sum over the kernel and the channels of the group. */
function convolve(input: Dense, weight: Dense, part: Partial<Settings> = {}): Dense {
  const axes = input.shape.length - 2;
  const each = (values: number[] | undefined, fallback: number): number[] =>
    values ?? new Array<number>(axes).fill(fallback);
  const stride = each(part.stride, 1);
  const before = each(part.before, 0);
  const after = part.after ?? before;
  const dilation = each(part.dilation, 1);
  const inputDilation = each(part.inputDilation, 1);
  const groups = part.groups ?? 1;
  const kernel = weight.shape.slice(1, -1);
  const [outputs, channels] = [weight.shape[0]!, weight.shape.at(-1)!];
  const dilated = input.shape.slice(1, -1).map((n, i) => (n - 1) * inputDilation[i]! + 1);
  const size = dilated.map(
    (n, i) => Math.floor((n + before[i]! + after[i]! - dilation[i]! * (kernel[i]! - 1) - 1) / stride[i]!) + 1,
  );
  const taps = positions(kernel);
  return build([input.shape[0]!, ...size, outputs], (index) => {
    const output = index.at(-1)!;
    const firstChannel = Math.floor((output * groups) / outputs) * channels;
    let total = 0;
    for (const tap of taps) {
      const place = tap.map((k, i) => index[i + 1]! * stride[i]! + k * dilation[i]! - before[i]!);
      if (place.some((p, i) => p % inputDilation[i]! !== 0)) continue;
      const source = place.map((p, i) => p / inputDilation[i]!);
      if (!within(input.shape.slice(1, -1), source)) continue;
      const from = part.flip ? tap.map((k, i) => kernel[i]! - 1 - k) : tap;
      for (let c = 0; c < channels; c++)
        total += at(input, [index[0]!, ...source, firstChannel + c]) * at(weight, [output, ...from, c]);
    }
    return total;
  });
}

/** Convolves transposed by the definition: each input element adds its kernel to the output. */
function spread(
  input: Dense,
  weight: Dense,
  o: {
    stride?: number[];
    padding?: number[];
    dilation?: number[];
    outputPadding?: number[];
    groups?: number;
  } = {},
): Dense {
  const axes = input.shape.length - 2;
  const each = (values: number[] | undefined, fallback: number): number[] =>
    values ?? new Array<number>(axes).fill(fallback);
  const [stride, padding] = [each(o.stride, 1), each(o.padding, 0)];
  const [dilation, extra] = [each(o.dilation, 1), each(o.outputPadding, 0)];
  const groups = o.groups ?? 1;
  const kernel = weight.shape.slice(1, -1);
  const [outputs, channels] = [weight.shape[0]!, weight.shape.at(-1)!];
  const spatial = input.shape.slice(1, -1);
  const size = spatial.map(
    (n, i) => (n - 1) * stride[i]! - 2 * padding[i]! + dilation[i]! * (kernel[i]! - 1) + 1 + extra[i]!,
  );
  const sums = new Map<string, number>();
  for (const place of positions([input.shape[0]!, ...spatial]))
    for (const tap of positions(kernel))
      for (let output = 0; output < outputs; output++) {
        const target = tap.map((k, i) => place[i + 1]! * stride[i]! + k * dilation[i]! - padding[i]!);
        if (!within(size, target)) continue;
        const firstChannel = Math.floor((output * groups) / outputs) * channels;
        const key = [place[0], ...target, output].join();
        let total = sums.get(key) ?? 0;
        for (let c = 0; c < channels; c++)
          total += at(input, [...place, firstChannel + c]) * at(weight, [output, ...tap, c]);
        sums.set(key, total);
      }
  return build([input.shape[0]!, ...size, outputs], (index) => sums.get(index.join()) ?? 0);
}

const tolerance = 3e-6;

export const convolution: Record<string, () => void> = {
  conv1d() {
    const input = noise([2, 11, 4], 90);
    const weight = noise([6, 3, 4], 91);
    for (const [layout, x] of layouts(input))
      close(mx.conv1d(x, toArray(weight)), convolve(input, weight), tolerance, layout);
    close(
      mx.conv1d(toArray(input), toArray(weight), { stride: 2, padding: 2, dilation: 2 }),
      convolve(input, weight, { stride: [2], before: [2], dilation: [2] }),
      tolerance,
    );
    const grouped = noise([6, 3, 2], 92);
    close(
      mx.conv1d(toArray(input), toArray(grouped), { groups: 2, padding: [1] }),
      convolve(input, grouped, { groups: 2, before: [1] }),
      tolerance,
    );
    refuses(() => mx.conv1d(toArray(input), toArray(grouped)), "convGeneral", "[2,11,4]", "[6,3,2]");
    refuses(() => mx.conv1d(toArray(input), toArray(weight), { groups: 0 }), "conv1d", "groups");
    refuses(() => mx.conv1d(toArray(input), toArray(weight), { stride: [1, 1] }), "conv1d", "[1,1]");
  },
  conv2d() {
    const input = noise([2, 9, 8, 4], 93);
    const weight = noise([6, 3, 2, 4], 94);
    for (const [layout, x] of layouts(input))
      for (const [second, w] of layouts(weight))
        close(mx.conv2d(x, w), convolve(input, weight), tolerance, `${layout}, ${second}`);
    const cases: [mx.ConvOptions, Partial<Settings>][] = [
      [{ padding: 1 }, { before: [1, 1] }],
      [{ stride: 2 }, { stride: [2, 2] }],
      [{ dilation: [2, 3] }, { dilation: [2, 3] }],
      [
        { stride: [3, 1], padding: [0, 2], dilation: 2 },
        { stride: [3, 1], before: [0, 2], dilation: [2, 2] },
      ],
    ];
    for (const [options, settings] of cases)
      close(
        mx.conv2d(toArray(input), toArray(weight), options),
        convolve(input, weight, settings),
        tolerance,
        JSON.stringify(options),
      );
    const grouped = noise([6, 3, 3, 2], 95);
    close(
      mx.conv2d(toArray(input), toArray(grouped), { groups: 2, padding: 1, stride: 2 }),
      convolve(input, grouped, { groups: 2, before: [1, 1], stride: [2, 2] }),
      tolerance,
      "groups",
    );
    const depthwise = noise([4, 3, 3, 1], 96);
    close(
      mx.conv2d(toArray(input), toArray(depthwise), { groups: 4 }),
      convolve(input, depthwise, { groups: 4 }),
      tolerance,
      "depthwise",
    );
    const point = noise([5, 1, 1, 4], 97);
    close(mx.conv2d(toArray(input), toArray(point)), convolve(input, point), tolerance, "1 x 1");
    const patch = noise([5, 3, 4, 4], 98);
    close(
      mx.conv2d(toArray(input), toArray(patch), { stride: [3, 4] }),
      convolve(input, patch, { stride: [3, 4] }),
      tolerance,
      "patches",
    );
    // Large enough for MLX's Winograd path: a kernel of 3 and many channels.
    const deep = noise([1, 12, 12, 64], 99);
    const kernels = noise([64, 3, 3, 64], 100, -0.1, 0.1);
    close(
      mx.conv2d(toArray(deep), toArray(kernels), { padding: 1 }),
      convolve(deep, kernels, { before: [1, 1] }),
      2e-5,
      "3 x 3, 64 channels",
    );
    refuses(
      () => mx.conv2d(mx.ones([1, 4, 4, 3]), mx.ones([2, 3, 3, 4])),
      "convGeneral",
      "[1,4,4,3]",
      "[2,3,3,4]",
    );
    refuses(() => mx.conv2d(mx.ones([1, 2, 2, 2]), mx.ones([2, 3, 3, 2])), "convGeneral", "[1,2,2,2]");
    refuses(
      () => mx.conv2d(mx.ones([1, 4, 4, 2]), mx.ones([2, 3, 3, 2]), { stride: 0 }),
      "convGeneral",
      "tride",
    );
    refuses(() => mx.conv2d(mx.ones([1, 4, 4, 2]), mx.ones([2, 3, 3, 2]), { groups: 0 }), "conv2d", "groups");
    refuses(() => mx.conv2d(mx.ones([1, 4, 4, 0]), mx.ones([2, 3, 3, 0])), "conv2d", "[1,4,4,0]");
    refuses(() => mx.conv2d(mx.ones([1, 4, 4, 2]), mx.ones([2, 0, 3, 2])), "conv2d", "[2,0,3,2]");
  },
  conv3d() {
    const input = noise([1, 5, 4, 6, 3], 101);
    const weight = noise([2, 2, 3, 2, 3], 102);
    for (const [layout, x] of layouts(input))
      close(mx.conv3d(x, toArray(weight)), convolve(input, weight), tolerance, layout);
    close(
      mx.conv3d(toArray(input), toArray(weight), { stride: [1, 2, 2], padding: 1, dilation: [2, 1, 1] }),
      convolve(input, weight, { stride: [1, 2, 2], before: [1, 1, 1], dilation: [2, 1, 1] }),
      tolerance,
    );
    refuses(() => mx.conv3d(mx.ones([1, 4, 4, 2]), mx.ones([2, 3, 3, 2])), "convGeneral", "[1,4,4,2]");
  },
  convGeneral() {
    const input = noise([1, 6, 7, 2], 103);
    const weight = noise([4, 3, 2, 2], 104);
    close(mx.convGeneral(toArray(input), toArray(weight)), convolve(input, weight), tolerance, "no options");
    close(
      mx.convGeneral(toArray(input), toArray(weight), {
        paddingBefore: [0, 2],
        paddingAfter: [1, 0],
        stride: [2, 1],
      }),
      convolve(input, weight, { before: [0, 2], after: [1, 0], stride: [2, 1] }),
      tolerance,
      "padding on one side",
    );
    close(
      mx.convGeneral(toArray(input), toArray(weight), { inputDilation: [2, 3] }),
      convolve(input, weight, { inputDilation: [2, 3] }),
      tolerance,
      "input dilation",
    );
    close(
      mx.convGeneral(toArray(input), toArray(weight), { flip: true, kernelDilation: [1, 2] }),
      convolve(input, weight, { flip: true, dilation: [1, 2] }),
      tolerance,
      "flipped kernel",
    );
    refuses(
      () => mx.convGeneral(toArray(input), toArray(weight), { inputDilation: [0, 0] }),
      "convGeneral",
      "ilation",
    );
    refuses(() => mx.convGeneral(toArray(input), toArray(weight), { groups: 0 }), "convGeneral", "groups");
  },
  convTranspose1d() {
    const input = noise([2, 7, 4], 105);
    const weight = noise([6, 3, 4], 106);
    for (const [layout, x] of layouts(input))
      close(mx.convTranspose1d(x, toArray(weight)), spread(input, weight), tolerance, layout);
    close(
      mx.convTranspose1d(toArray(input), toArray(weight), {
        stride: 3,
        padding: 1,
        dilation: 2,
        outputPadding: 1,
      }),
      spread(input, weight, { stride: [3], padding: [1], dilation: [2], outputPadding: [1] }),
      tolerance,
    );
    const grouped = noise([6, 3, 2], 107);
    close(
      mx.convTranspose1d(toArray(input), toArray(grouped), { stride: 2, groups: 2 }),
      spread(input, grouped, { stride: [2], groups: 2 }),
      tolerance,
    );
    refuses(() => mx.convTranspose1d(mx.ones([1, 4, 3]), mx.ones([2, 3, 2])), "convTranspose1d", "[1,4,3]");
    refuses(
      () => mx.convTranspose1d(toArray(input), toArray(weight), { groups: 0 }),
      "convTranspose1d",
      "groups",
    );
  },
  convTranspose2d() {
    const input = noise([1, 4, 5, 4], 108);
    const weight = noise([6, 3, 2, 4], 109);
    for (const [layout, x] of layouts(input))
      close(mx.convTranspose2d(x, toArray(weight)), spread(input, weight), tolerance, layout);
    close(
      mx.convTranspose2d(toArray(input), toArray(weight), {
        stride: [2, 3],
        padding: [1, 0],
        dilation: [1, 2],
        outputPadding: [1, 0],
      }),
      spread(input, weight, { stride: [2, 3], padding: [1, 0], dilation: [1, 2], outputPadding: [1, 0] }),
      tolerance,
    );
    const doubling = noise([3, 2, 2, 4], 110);
    close(
      mx.convTranspose2d(toArray(input), toArray(doubling), { stride: 2 }),
      spread(input, doubling, { stride: [2, 2] }),
      tolerance,
    );
    const grouped = noise([6, 2, 2, 2], 111);
    close(
      mx.convTranspose2d(toArray(input), toArray(grouped), { stride: 2, groups: 2 }),
      spread(input, grouped, { stride: [2, 2], groups: 2 }),
      tolerance,
    );
    refuses(
      () => mx.convTranspose2d(mx.ones([1, 4, 4, 3]), mx.ones([2, 3, 3, 2])),
      "convTranspose2d",
      "[1,4,4,3]",
    );
    refuses(
      () => mx.convTranspose2d(toArray(input), toArray(weight), { stride: [1] }),
      "convTranspose2d",
      "[1]",
    );
    refuses(
      () => mx.convTranspose2d(toArray(input), toArray(weight), { groups: 0 }),
      "convTranspose2d",
      "groups",
    );
  },
};
