/** Whether an option is a number within its bounds. */

/** @throws RangeError that begins with `what`: `etcd(): timeoutMs is 0; want 1 to 3600000`. */
export function inRange(what: string, name: string, value: number, min: number, max: number): number {
  if (value >= min && value <= max) return value
  throw new RangeError(`${what}: ${name} is ${value}; want ${min} to ${max}`)
}
