/*
 * How much memory a generation needs, stage by stage, from configs and file headers alone. Stages estimate their own
 * working memory; this file adds it to the weights that are held at the time.
 */
import { describeBytes } from "../bytes.js";
import { type MemoryAlternative, MemoryError } from "../errors.js";
import type { MemoryPolicy } from "../options/index.js";
import type { HeldSize } from "../weights/component.js";
import { type ComponentUse, lifetimesOf } from "./lifetimes.js";
import { type MachineMemory, programBytes } from "./machine.js";

/** A stage as the planner sees it. */
export interface PlannedStage<Name extends string = string> {
  readonly name: Name;
  readonly uses: readonly ComponentUse[];
  /**
   * Estimates the bytes that the stage computes with.
   * @param room bytes that remain for it while its weights are held: stages with banded layers adapt to it.
   */
  readonly workingMemory: (room: number) => number;
}

/** The memory of one stage at its peak, in bytes. */
export interface StageMemory<Name extends string = string> {
  readonly stage: Name;
  /** Weights held at the time, including those of other stages. */
  readonly weights: number;
  /** Memory the stage computes with. */
  readonly work: number;
  readonly peak: number;
}

/** Adds up the memory of each stage. */
export function planStages<Name extends string>(
  stages: readonly PlannedStage<Name>[],
  options: {
    readonly sizeOf: (component: string) => HeldSize;
    readonly policy: MemoryPolicy;
    readonly available: number;
  },
): StageMemory<Name>[] {
  const { sizeOf, policy, available } = options;
  const lifetimes = lifetimesOf(
    stages.flatMap(({ uses }) => uses),
    policy,
  );
  return stages.map(({ name, uses, workingMemory }) => {
    const peaks = lifetimes
      .filter(({ use }) => uses.includes(use))
      .map(({ use, held }) => {
        const weights = held.reduce((sum, component) => sum + sizeOf(component).bytes, 0);
        const reading = Math.max(0, ...use.components.map((component) => sizeOf(component).reading));
        const room = Math.max(0, available - programBytes - weights);
        const work = Math.max(workingMemory(room), reading);
        return { stage: name, weights, work, peak: programBytes + weights + work };
      });
    return peaks.reduce((worst, one) => (one.peak > worst.peak ? one : worst));
  });
}

/** The peak of all stages, in bytes. */
export const peakOf = (stages: readonly StageMemory[]): number => Math.max(...stages.map(({ peak }) => peak));

/** The memory plan of a generation. */
export interface MemoryPlan<Name extends string = string> {
  readonly stages: readonly StageMemory<Name>[];
  /** Of all stages. */
  readonly peak: number;
  readonly machine: MachineMemory;
  readonly fits: boolean;
  /** The smallest changes that would make it fit; empty when it fits. */
  readonly alternatives: readonly MemoryAlternative[];
}

/** @throws {MemoryError} when the generation does not fit, with the numbers and the settings that would. */
export function requireFit({ stages, peak, machine, fits, alternatives }: MemoryPlan): void {
  if (fits) return;
  const { stage } = stages.find((one) => one.peak === peak)!;
  const { available, source } = machine;
  throw new MemoryError(
    peak,
    available,
    `This needs about ${describeBytes(peak)} of memory in the stage ${stage}, but only ${describeBytes(available)} are available (${source}).`,
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
