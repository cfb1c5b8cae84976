/*
 * Plans the memory of a generation, stage by stage. Stages estimate their own working memory; the plan adds the weights
 * that are held at the time.
 */
import { describeBytes } from "../bytes.js";
import { type MemoryAlternative, MemoryError } from "../errors.js";
import type { MemoryPolicy } from "../options/index.js";
import type { HeldSize } from "../weights/component.js";
import { type ComponentUse, lifetimesOf } from "./lifetimes.js";
import { type MachineMemory, programBytes } from "./machine.js";

/** A stage, as far as the planner needs to know it. */
export interface PlannedStage<Stage extends string, Component extends string> {
  readonly name: Stage;
  /** At least one use, possibly without components. */
  readonly uses: readonly ComponentUse<Component>[];
  /**
   * Estimates the bytes that the stage computes with, weights excluded.
   * @param room bytes left for it while its weights are held; computations in bands adapt to this.
   */
  readonly workingMemory: (room: number) => number;
  /** Whether everything that it does not use is freed first if memory is short. */
  readonly makesRoom?: boolean;
}

/** The memory of one stage at its peak, in bytes. */
export interface StageMemory<Stage extends string = string> {
  readonly stage: Stage;
  /** Weights held at the time, including those of other stages. */
  readonly weights: number;
  /** Working memory of the stage, and what the last generation left for the next one. */
  readonly work: number;
  /** `weights`, `work` and the program itself. */
  readonly peak: number;
}

/**
 * Adds up the memory of each stage.
 * @param options.sizeOf the size of a component's weights.
 * @param options.available bytes that the process can use.
 * @param options.kept bytes that the last generation left for the next one, other than weights.
 */
export function planStages<Stage extends string, Component extends string>(
  stages: readonly PlannedStage<Stage, Component>[],
  options: {
    readonly sizeOf: (component: Component) => HeldSize;
    readonly policy: MemoryPolicy;
    readonly available: number;
    readonly kept?: number;
  },
): StageMemory<Stage>[] {
  const { sizeOf, policy, available, kept = 0 } = options;
  const lifetimes = lifetimesOf(
    stages.flatMap(({ uses }) => uses),
    policy,
  );
  return stages.map(({ name, uses, workingMemory, makesRoom = false }) => {
    const memoryOf = (use: ComponentUse<Component>, held: readonly Component[]): StageMemory<Stage> => {
      const weights = held.reduce((sum, component) => sum + sizeOf(component).bytes, 0);
      const room = Math.max(0, available - programBytes - weights - kept);
      const work = kept + workBytes(workingMemory(room), use.components.map(sizeOf));
      return { stage: name, weights, work, peak: programBytes + weights + work };
    };
    const peaks = lifetimes
      .filter(({ use }) => uses.includes(use))
      .map(({ use, held }) => {
        const memory = memoryOf(use, held);
        return makesRoom && memory.peak > available ? memoryOf(use, use.components) : memory;
      });
    return peaks.reduce((highest, one) => (one.peak > highest.peak ? one : highest));
  });
}

/** The bytes of reading weights and then computing, in addition to the weights. */
export const workBytes = (workingMemory: number, weights: readonly HeldSize[]): number =>
  Math.max(workingMemory, ...weights.map(({ reading }) => reading));

/** The highest peak of all stages, in bytes. */
export const peakOf = (stages: readonly StageMemory[]): number => Math.max(...stages.map(({ peak }) => peak));

/** The memory plan of a generation. */
export interface MemoryPlan<Stage extends string = string> {
  readonly stages: readonly StageMemory<Stage>[];
  /** The highest peak of all stages, in bytes. */
  readonly peak: number;
  readonly machine: MachineMemory;
  readonly fits: boolean;
  /** The smallest changes that would make it fit; empty if it fits. */
  readonly alternatives: readonly MemoryAlternative[];
}

/**
 * Checks that a generation fits.
 * @throws {MemoryError} if it does not, with the figures and with settings that would fit.
 */
export function requireFit({ stages, peak, machine, fits, alternatives }: MemoryPlan): void {
  if (fits) return;
  const { stage } = stages.find((one) => one.peak === peak)!;
  const { available, source } = machine;
  throw new MemoryError(
    peak,
    available,
    `This needs about ${describeBytes(peak)} of memory in the stage ${stage}, but only ${describeBytes(available)} is available (${source}).`,
    {
      details: {
        stage,
        machine,
        alternatives,
        remedies: [{ kind: "set-option", option: "force", value: true, purpose: "try anyway" }],
      },
    },
  );
}
