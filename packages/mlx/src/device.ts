import { MlxError } from "./errors.js";
import { native } from "./load.js";

export type DeviceType = "cpu" | "gpu";

/** The device that operations run on by default: the GPU if this MLX has one. The setting is process-wide. */
export const defaultDevice = (): DeviceType => native.defaultDevice() as DeviceType;

/** @throws {MlxError} if this machine or this MLX lacks the device. */
export function setDefaultDevice(device: DeviceType): void {
  if (!isAvailable(device))
    throw new MlxError("setDefaultDevice", `this MLX (${backend().name}) finds no ${device} on this machine`);
  native.setDefaultDevice(device);
}

export const isAvailable = (device: DeviceType): boolean => native.deviceAvailable(device);

/** Properties of a device: `device_name`, `architecture`, and memory sizes in bytes where the backend reports them. */
export const deviceInfo = (device: DeviceType = defaultDevice()): Record<string, string | number> =>
  native.deviceInfo(device);

/** A queue of work on a device, owned by the thread that created it. */
export interface Stream {
  readonly index: number;
  readonly device: DeviceType;
}

export const newStream = (device: DeviceType = defaultDevice()): Stream => native.newStream(device) as Stream;
export const defaultStream = (device: DeviceType = defaultDevice()): Stream =>
  native.defaultStream(device) as Stream;
/** Sends this thread's following operations to the stream. */
export const setDefaultStream = (stream: Stream): void =>
  native.setDefaultStream(stream.index, stream.device);
/** Blocks until the default stream is empty. */
export const synchronize = (): void => native.synchronize();

export interface Backend {
  /** The backend that this MLX was built for. */
  readonly name: "metal" | "cuda" | "cpu";
  /** The version of MLX. */
  readonly version: string;
  /** Path of the MLX library in use. */
  readonly library: string;
  /** The library that multiplies float32 matrices on the CPU. */
  readonly blas: {
    readonly name: string;
    /** Threads per multiplication. */
    readonly threads: number;
    /** Multiplications that went through our entry point so far; proves that MLX calls it. */
    readonly calls: number;
  };
}

export const backend = (): Backend => native.backend() as Backend;

/** The instruction set used by the fused operations on a Linux CPU, for example "avx2"; "none" elsewhere. */
export const instructionSet = (): string => native.instructionSet();

/**
 * The model of this processor as vendor, family and model in hexadecimal, the way Linux's perf names it:
 * "GenuineIntel-6-8F". "none" on processors other than x86, and on systems other than Linux.
 */
export const processor = (): string => native.processor();

/**
 * Sets the number of threads of the CPU backend, 1 to 64, process-wide from the next operation on. Linux only.
 * The default is MFLUX_DEPTH_THREADS, or else the number of cores that the process may use; read it from
 * `backend().blas.threads`.
 * @throws {MlxError} if the count is out of range, or on other systems.
 */
export const setThreads = (count: number): void => native.setThreads(count);

/**
 * Measures the peak rate of all threads together, in operations per second, with a loop over registers: float32
 * multiply-adds, bfloat16 products summed in float32, or 8-bit integer products summed in 32 bits. No matrix product on
 * this CPU can be faster. Takes a tenth of a second. Returns 0 if the processor lacks the instruction, and on anything
 * except x86-64 Linux.
 */
export const peakRate = (arithmetic: "float32" | "bfloat16" | "int8"): number => native.peakRate(arithmetic);

/** Metal only: availability, and GPU captures for Xcode. */
export const metal = {
  isAvailable: (): boolean => native.metalAvailable(),
  startCapture: (path: string): void => native.metalStartCapture(path),
  stopCapture: (): void => native.metalStopCapture(),
};
