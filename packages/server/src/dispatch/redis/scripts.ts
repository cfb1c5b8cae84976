import type { Redis } from "ioredis";
import type { Offer } from "../dispatcher.js";
import type { Waiting } from "../order.js";
import { attemptOf, bullId, type Keys, placeOf, queueName, scoreOf } from "./keys.js";

/** The waiting jobs, as the instance whose turn it is sees them. */
export interface View {
  /** Milliseconds of Redis's clock, which all instances share. */
  readonly now: number;
  /** The first jobs of each queue. */
  readonly jobs: readonly Waiting[];
}

export type Look =
  | { readonly state: "turn"; readonly view: View }
  /** Another one chooses now. */
  | { readonly state: "busy" }
  /** Nothing waits that may be taken. */
  | { readonly state: "none" };

/** A job that BullMQ says is worked on, but whose lease has expired. */
export interface Unleased {
  readonly queue: string;
  readonly id: string;
  readonly attempt: number;
  readonly worker: string;
  /** Whether it is the last attempt that was offered. */
  readonly current: boolean;
}

/** How long an instance may take to choose. If it is suspended while choosing, all others wait this long. */
const turnMs = 2000;

/** Tells all instances that something may be taken, and how many of them hear it. */
const tellToLook = (channel: string): string => `
    local listeners = redis.call("PUBSUB", "NUMSUB", ${channel})[2]
    redis.call("PUBLISH", ${channel}, cjson.encode({ type = "look", listeners = listeners }))`;

/*
 * Queues are BullMQ's; the scripts read its sorted sets and hashes, and change only the place of a waiting job, its data,
 * and an expired lock. KEYS are ours; those of BullMQ begin with the prefix in ARGV[1].
 */
const lua = {
  // ARGV: prefix, job, next attempt, score, data. → the attempt to add; 0 if the job is there already.
  admit: `
    local entry = redis.call("HGET", KEYS[1], ARGV[2])
    if not entry then return tonumber(ARGV[3]) end
    local attempt, queue = string.match(entry, "(%d+) (.*)")
    attempt = tonumber(attempt)
    if attempt < tonumber(ARGV[3]) then return tonumber(ARGV[3]) end
    local bull = ARGV[2] .. "-" .. attempt
    local key = ARGV[1] .. ":" .. queue .. ":" .. bull
    if redis.call("EXISTS", key) == 0 then return attempt + 1 end
    local waiting = ARGV[1] .. ":" .. queue .. ":prioritized"
    if redis.call("ZSCORE", waiting, bull) then
      redis.call("ZADD", waiting, ARGV[4], bull)
      redis.call("HSET", key, "data", ARGV[5])
    end
    return 0`,

  // KEYS: jobs, queues, channel. ARGV: prefix, job, attempt, score, queue, model. → the attempt that it replaces; 0 if none.
  place: `
    local entry = redis.call("HGET", KEYS[1], ARGV[2])
    local attempt = tonumber(ARGV[3])
    local before = entry and tonumber(string.match(entry, "%d+")) or 0
    redis.call("HSET", KEYS[2], ARGV[5], ARGV[6])
    redis.call("ZADD", ARGV[1] .. ":" .. ARGV[5] .. ":prioritized", "XX", ARGV[4], ARGV[2] .. "-" .. attempt)
    if before < attempt then redis.call("HSET", KEYS[1], ARGV[2], attempt .. " " .. ARGV[5]) end
    ${tellToLook("KEYS[3]")}
    if before < attempt then return before end
    return 0`,

  // KEYS: queues, paused, overtaken, turn. ARGV: prefix, token, the last place of interest, milliseconds of a turn,
  // queues that are refused. → nothing, "busy", or the time and for each job: queue, model, id, score, overtaken.
  look: `
    if redis.call("EXISTS", KEYS[2]) == 1 then return {} end
    if redis.call("EXISTS", KEYS[4]) == 1 then return { "busy" } end
    local refused = {}
    for i = 5, #ARGV do refused[ARGV[i]] = true end
    local queues = redis.call("HGETALL", KEYS[1])
    local jobs = {}
    for i = 1, #queues, 2 do
      if not refused[queues[i]] then
        local first = redis.call("ZRANGE", ARGV[1] .. ":" .. queues[i] .. ":prioritized", 0, ARGV[3], "WITHSCORES")
        for j = 1, #first, 2 do
          local job = string.match(first[j], "^(.*)-%d+$")
          jobs[#jobs + 1] = { queues[i + 1], first[j], first[j + 1], redis.call("HGET", KEYS[3], job) or "" }
        end
      end
    end
    if #jobs == 0 then return {} end
    redis.call("SET", KEYS[4], ARGV[2], "PX", ARGV[4])
    local time = redis.call("TIME")
    return { time[1] * 1000 + math.floor(time[2] / 1000), jobs }`,

  // KEYS: turn, overtaken, jobs, queues. ARGV: token, now, the entry and id of the job that was taken, jobs that it
  // overtook. → the last attempt at the taken job.
  settle: `
    for i = 5, #ARGV do
      local entry = redis.call("HGET", KEYS[2], ARGV[i])
      local count, since = string.match(entry or "", "(%d+) (%d+)")
      redis.call("HSET", KEYS[2], ARGV[i], (count or 0) + 1 .. " " .. (since or ARGV[2]))
    end
    if redis.call("GET", KEYS[1]) == ARGV[1] then redis.call("DEL", KEYS[1]) end
    if ARGV[4] == "" then return 0 end
    redis.call("HDEL", KEYS[2], ARGV[4])
    redis.call("HSETNX", KEYS[3], ARGV[4], ARGV[3])
    return tonumber(string.match(redis.call("HGET", KEYS[3], ARGV[4]), "%d+"))`,

  // KEYS: jobs, and of BullMQ the job, its lock and the active ones. ARGV: job, attempt, token, milliseconds.
  // An expired lock is taken again, unless someone has noticed and removed the job.
  renew: `
    local entry = redis.call("HGET", KEYS[1], ARGV[1])
    if not entry or string.match(entry, "%d+") ~= ARGV[2] then return 0 end
    local holder = redis.call("GET", KEYS[3])
    if holder and holder ~= ARGV[3] then return 0 end
    if not holder then
      if redis.call("EXISTS", KEYS[2]) == 0 or not redis.call("LPOS", KEYS[4], ARGV[1] .. "-" .. ARGV[2]) then return 0 end
    end
    redis.call("SET", KEYS[3], ARGV[3], "PX", ARGV[4])
    return 1`,

  // KEYS: jobs, overtaken. ARGV: job, attempt.
  forget: `
    local entry = redis.call("HGET", KEYS[1], ARGV[1])
    if entry and string.match(entry, "%d+") == ARGV[2] then
      redis.call("HDEL", KEYS[1], ARGV[1])
      redis.call("HDEL", KEYS[2], ARGV[1])
    end
    return 1`,

  // KEYS: jobs, queues. ARGV: prefix. → for each job without a lock: queue, id, worker, whether it is the last attempt.
  unleased: `
    local found = {}
    for _, queue in ipairs(redis.call("HKEYS", KEYS[2])) do
      local base = ARGV[1] .. ":" .. queue .. ":"
      for _, bull in ipairs(redis.call("LRANGE", base .. "active", 0, -1)) do
        if redis.call("EXISTS", base .. bull .. ":lock") == 0 then
          local job, attempt = string.match(bull, "^(.*)-(%d+)$")
          local entry = redis.call("HGET", KEYS[1], job)
          local current = not entry or string.match(entry, "%d+") == attempt
          found[#found + 1] = { queue, bull, redis.call("HGET", base .. bull, "pb") or "", current and 1 or 0 }
        end
      end
    end
    return found`,

  // KEYS: jobs. ARGV: prefix, jobs. → 1 for each job that BullMQ does not have.
  missing: `
    local found = {}
    for i = 2, #ARGV do
      local entry = redis.call("HGET", KEYS[1], ARGV[i])
      local attempt, queue = string.match(entry or "", "(%d+) (.*)")
      found[i - 1] = 1
      if entry and redis.call("EXISTS", ARGV[1] .. ":" .. queue .. ":" .. ARGV[i] .. "-" .. attempt) == 1 then
        found[i - 1] = 0
      end
    end
    return found`,

  // KEYS: jobs. ARGV: prefix, job. → whether it waits, its attempt and its queue; nothing if it is unknown.
  find: `
    local entry = redis.call("HGET", KEYS[1], ARGV[2])
    if not entry then return {} end
    local attempt, queue = string.match(entry, "(%d+) (.*)")
    local waits = redis.call("ZSCORE", ARGV[1] .. ":" .. queue .. ":prioritized", ARGV[2] .. "-" .. attempt)
    return { waits and 1 or 0, tonumber(attempt), queue }`,

  // KEYS: paused, channel. ARGV: 1 to hold jobs back, 0 to give them.
  hold: `
    if ARGV[1] == "1" then redis.call("SET", KEYS[1], "1")
    elseif redis.call("DEL", KEYS[1]) == 1 then ${tellToLook("KEYS[2]")} end
    return 1`,

  // KEYS: queues. ARGV: prefix. → how many jobs wait.
  count: `
    local count = 0
    for _, queue in ipairs(redis.call("HKEYS", KEYS[1])) do
      count = count + redis.call("ZCARD", ARGV[1] .. ":" .. queue .. ":prioritized")
    end
    return count`,

  // KEYS: owner. ARGV: a ledger. → the ledger that has this Redis: the given one if none had.
  own: `
    redis.call("SET", KEYS[1], ARGV[1], "NX")
    return redis.call("GET", KEYS[1])`,

  // KEYS: queues. ARGV: prefix. Forgets queues in which nothing is.
  prune: `
    for _, queue in ipairs(redis.call("HKEYS", KEYS[1])) do
      local base = ARGV[1] .. ":" .. queue .. ":"
      if redis.call("EXISTS", base .. "prioritized", base .. "active", base .. "wait") == 0 then
        redis.call("HDEL", KEYS[1], queue)
        redis.call("DEL", base .. "meta", base .. "events", base .. "marker", base .. "pc", base .. "id")
      end
    end
    return 1`,
} as const;

/** What instances do in Redis in one step, so that none sees half of what another does. */
export class Scripts {
  readonly #redis: Redis;
  readonly #keys: Keys;

  constructor(redis: Redis, keys: Keys) {
    this.#redis = redis;
    this.#keys = keys;
    for (const [name, text] of Object.entries(lua)) redis.defineCommand(commandOf(name), { lua: text });
  }

  /**
   * Whether a job has to be added. A waiting job takes the offer's priority; a running one stays as it is.
   * @returns the attempt to add it under; 0 if it is there.
   */
  async admit(offer: Offer): Promise<number> {
    const { prefix, jobs } = this.#keys;
    const facts = [offer.id, offer.attempt + 1, scoreOf(offer), JSON.stringify(offer)];
    return (await this.#run("admit", [jobs], [prefix, ...facts])) as number;
  }

  /** Gives a job that was added its place, and tells those who wait. @returns the attempt that it replaces; 0 for none. */
  async place(offer: Offer): Promise<number> {
    const { prefix, jobs, queues, channel } = this.#keys;
    const { id, attempt, model } = offer;
    const facts = [id, attempt + 1, scoreOf(offer), queueName(model), model];
    return (await this.#run("place", [jobs, queues, channel], [prefix, ...facts])) as number;
  }

  /**
   * Takes the turn to choose, if something waits.
   * @param token which {@link settle} gives back.
   * @param refused queues that are left out.
   * @param count how many jobs of each queue to see.
   */
  async look(
    token: string,
    { refused, count }: { readonly refused: readonly string[]; readonly count: number },
  ): Promise<Look> {
    const { prefix, queues, paused, overtaken, turn } = this.#keys;
    const args = [prefix, token, count - 1, turnMs, ...refused];
    const answer = await this.#run("look", [queues, paused, overtaken, turn], args);
    const [first, jobs] = answer as [] | ["busy"] | [number, [string, string, string, string][]];
    if (first === undefined) return { state: "none" };
    if (first === "busy") return { state: "busy" };
    return { state: "turn", view: { now: first, jobs: jobs!.map(waitingOf) } };
  }

  /**
   * Ends the turn, and records what was chosen.
   * @param taken the attempt that was claimed; null for none.
   * @returns the last attempt at the job: a higher one if the claimed one is out of date.
   */
  async settle(
    token: string,
    { now, taken, overtaken }: { now: number; taken: Offer | null; overtaken: readonly string[] },
  ): Promise<number> {
    const { turn, overtaken: table, jobs } = this.#keys;
    const entry = taken ? `${taken.attempt + 1} ${queueName(taken.model)}` : "";
    const args = [token, now, entry, taken?.id ?? "", ...overtaken];
    return (await this.#run("settle", [turn, table, jobs], args)) as number;
  }

  /** @returns whether the lease holds. */
  async renew(
    { id, attempt, queue }: { id: string; attempt: number; queue: string },
    token: string,
    leaseMs: number,
  ): Promise<boolean> {
    const { prefix, jobs } = this.#keys;
    const job = `${prefix}:${queue}:${bullId(id, attempt)}`;
    const keys = [jobs, job, `${job}:lock`, `${prefix}:${queue}:active`];
    return (await this.#run("renew", keys, [id, attempt, token, leaseMs])) === 1;
  }

  /** Forgets a job, unless a later attempt was offered. */
  async forget(id: string, attempt: number): Promise<void> {
    const { jobs, overtaken } = this.#keys;
    await this.#run("forget", [jobs, overtaken], [id, attempt]);
  }

  async unleased(): Promise<readonly Unleased[]> {
    const { prefix, jobs, queues } = this.#keys;
    const found = (await this.#run("unleased", [jobs, queues], [prefix])) as [
      string,
      string,
      string,
      number,
    ][];
    return found.map(([queue, bull, worker, current]) => ({
      ...attemptOf(bull),
      queue,
      worker,
      current: current === 1,
    }));
  }

  /** The jobs that BullMQ does not have. */
  async missing<T extends { readonly id: string }>(some: readonly T[]): Promise<readonly T[]> {
    const { prefix, jobs } = this.#keys;
    const found = (await this.#run("missing", [jobs], [prefix, ...some.map(({ id }) => id)])) as number[];
    return some.filter((_, index) => found[index] === 1);
  }

  /** Where a job is; null if it is unknown. */
  async find(id: string): Promise<{ waits: boolean; attempt: number; queue: string } | null> {
    const { prefix, jobs } = this.#keys;
    const answer = await this.#run("find", [jobs], [prefix, id]);
    const [waits, attempt, queue] = answer as [] | [number, number, string];
    return attempt === undefined ? null : { waits: waits === 1, attempt, queue: queue! };
  }

  /** Holds jobs back, or gives them again. */
  async hold(paused: boolean): Promise<void> {
    await this.#run("hold", [this.#keys.paused, this.#keys.channel], [paused ? 1 : 0]);
  }

  /** How many jobs wait. */
  async count(): Promise<number> {
    return (await this.#run("count", [this.#keys.queues], [this.#keys.prefix])) as number;
  }

  /** Forgets queues in which nothing is. */
  async prune(): Promise<void> {
    await this.#run("prune", [this.#keys.queues], [this.#keys.prefix]);
  }

  /** Takes Redis for a ledger, unless another has it. @returns the one that has it. */
  async own(ledger: string): Promise<string> {
    return (await this.#run("own", [this.#keys.owner], [ledger])) as string;
  }

  /** Takes the turn, so that no other instance chooses meanwhile. @returns false if another one has it. */
  async takeTurn(token: string): Promise<boolean> {
    return (await this.#redis.set(this.#keys.turn, token, "PX", turnMs, "NX")) === "OK";
  }

  async #run(
    name: keyof typeof lua,
    keys: readonly string[],
    args: readonly (string | number)[],
  ): Promise<unknown> {
    const commands = this.#redis as unknown as Record<string, (...all: unknown[]) => Promise<unknown>>;
    return commands[commandOf(name)]!(keys.length, ...keys, ...args);
  }
}

/** Apart from the names of BullMQ's commands, which it defines on the same connection. */
const commandOf = (name: string): string => `fleet_${name}`;

function waitingOf([model, bull, score, overtaken]: readonly [string, string, string, string]): Waiting {
  const { id, attempt } = attemptOf(bull);
  const [count, since] =
    overtaken === "" ? [0, null] : (overtaken.split(" ").map(Number) as [number, number]);
  return {
    id,
    attempt: attempt - 1,
    model,
    ...placeOf(Number(score)),
    overtaken: count,
    overtakenSince: since,
  };
}
