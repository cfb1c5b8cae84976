import { MlxError } from "./errors.js";
import { native } from "./load.js";

export type DeviceType = "cpu" | "gpu";

/** Where operations run by default; the GPU when this MLX has one. One setting for the whole process. */
export const defaultDevice = (): DeviceType => native.defaultDevice() as DeviceType;

/** @throws {MlxError} when there is no such device here. */
export function setDefaultDevice(device: DeviceType): void {
  if (!isAvailable(device))
    throw new MlxError("setDefaultDevice", `this MLX (${backend().name}) has no ${device} here`);
  native.setDefaultDevice(device);
}

export const isAvailable = (device: DeviceType): boolean => native.deviceAvailable(device);

/** What MLX knows of a device: `device_name`, `architecture`, memory sizes in bytes where the backend gives them. */
export const deviceInfo = (device: DeviceType = defaultDevice()): Record<string, string | number> =>
  native.deviceInfo(device);

/** A queue of work on a device, owned by the thread that made it. */
export interface Stream {
  readonly index: number;
  readonly device: DeviceType;
}

export const newStream = (device: DeviceType = defaultDevice()): Stream => native.newStream(device) as Stream;
export const defaultStream = (device: DeviceType = defaultDevice()): Stream =>
  native.defaultStream(device) as Stream;
/** Makes the stream the one that this thread's next operations go to. */
export const setDefaultStream = (stream: Stream): void =>
  native.setDefaultStream(stream.index, stream.device);
/** Waits until everything queued on the default stream is done. */
export const synchronize = (): void => native.synchronize();

export interface Backend {
  /** Which MLX this is. */
  readonly name: "metal" | "cuda" | "cpu";
  /** MLX's version. */
  readonly version: string;
  /** The library file in use. */
  readonly library: string;
  /** Who multiplies float32 matrices on the CPU. */
  readonly blas: {
    readonly name: string;
    /** Threads that share a multiplication. */
    readonly threads: number;
    /** Multiplications that went through our entry point so far: proof that MLX calls it. */
    readonly calls: number;
  };
}

export const backend = (): Backend => native.backend() as Backend;

/** The instruction set that fused operations of the Linux CPU are compiled for, "avx2" for one; elsewhere "none". */
export const instructionSet = (): string => native.instructionSet();

/**
 * How many threads share the work of the CPU backend from the next operation on, 1 to 64, for the whole process; Linux
 * only. Before it is called, MFLUX_DEPTH_THREADS or the cores that the process may use; `backend().blas.threads` says.
 * @throws {MlxError} when the count is out of range, or on other systems.
 */
export const setThreads = (count: number): void => native.setThreads(count);

/**
 * Operations a second that all threads together reach in a loop over registers, so the most that products on this CPU
 * can have: float32 multiply-adds, bfloat16 added up in float32, or integers of 8 bits added up in 32. Takes a tenth of
 * a second. 0 where the instruction is not there, and off x86-64 Linux.
 */
export const peakRate = (arithmetic: "float32" | "bfloat16" | "int8"): number => native.peakRate(arithmetic);

/** Metal only: whether it is there, and GPU captures for Xcode. */
export const metal = {
  isAvailable: (): boolean => native.metalAvailable(),
  startCapture: (path: string): void => native.metalStartCapture(path),
  stopCapture: (): void => native.metalStopCapture(),
};
