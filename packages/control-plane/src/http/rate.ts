/** How often somebody may ask: token buckets by name, in bounded memory. Who is limited by what is `gate.ts`. */

export interface Rate {
  /** Sustained. */
  readonly perSecond: number
  /** At once, after a pause. */
  readonly burst: number
}

interface Bucket {
  left: number
  atMs: number
}

/** More names than this are not remembered; the one that was not heard of for longest is forgotten first. */
const maxBuckets = 100_000

export class RateLimit {
  private readonly rate: Rate
  private readonly nowMs: () => number
  private readonly buckets = new Map<string, Bucket>()

  constructor(rate: Rate, nowMs: () => number = () => performance.now()) {
    this.rate = rate
    this.nowMs = nowMs
  }

  /** Takes one. @returns 0 if there was one, or in how many seconds there will be. */
  take(name: string): number {
    const bucket = this.filled(name)
    if (bucket.left >= 1) {
      bucket.left -= 1
      return 0
    }
    return this.waitSeconds(bucket)
  }

  /** As `take`, without taking. */
  wait(name: string): number {
    const bucket = this.filled(name)
    return bucket.left >= 1 ? 0 : this.waitSeconds(bucket)
  }

  private waitSeconds(bucket: Bucket): number {
    return Math.max(1, Math.ceil((1 - bucket.left) / this.rate.perSecond))
  }

  private filled(name: string): Bucket {
    const { perSecond, burst } = this.rate
    const now = this.nowMs()
    const bucket = this.buckets.get(name) ?? { left: burst, atMs: now }
    bucket.left = Math.min(burst, bucket.left + ((now - bucket.atMs) / 1000) * perSecond)
    bucket.atMs = now
    this.buckets.delete(name)
    this.buckets.set(name, bucket)
    if (this.buckets.size > maxBuckets) {
      const [oldest] = this.buckets.keys()
      if (oldest !== undefined) this.buckets.delete(oldest)
    }
    return bucket
  }
}
