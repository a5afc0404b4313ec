/**
 * Paths into a configuration as types, so that `path: 'log.levle'` does not compile. Types only.
 *
 * A path is dotted and goes through the members of objects; it stops at arrays and at records, whose entries differ
 * from one configuration to the next. A recursive type is followed once around. Members whose names are not plain
 * (`a.b`) have no typed path. Where the type says nothing (`Json`, `any`, `unknown`), every path is allowed.
 */
import type { Json } from '../json.ts'

/** Every path into C; the empty string is the whole. */
export type PathOf<C> = Untyped<C> extends true ? string : '' | Below<C, [C], []>

/** What stands at a path: `| undefined` where the member itself or something above it may be absent or null. */
export type ValueAt<C, P extends string> =
  Untyped<C> extends true
    ? C
    : P extends ''
      ? C
      : P extends `${infer Key}.${infer More}`
        ? Untyped<MemberOf<C, Key>> extends true
          ? MemberOf<C, Key>
          : ValueAt<MemberOf<C, Key>, More>
        : MemberOf<C, P>

/** An element of an array, or a value of a record. */
export type EntryOf<T> =
  Untyped<T> extends true
    ? T
    : NonNullable<T> extends infer N
      ? N extends readonly (infer Entry)[]
        ? Entry
        : N extends { readonly [key: string]: infer Entry }
          ? Entry
          : never
      : never

/** The paths at which a keyed collection may stand: an array of objects, or a record. */
export type KeyedPathOf<C> = Untyped<C> extends true ? string : KeyedAmong<C, PathOf<C>>

type KeyedAmong<C, P extends string> = P extends unknown
  ? IsCollection<ValueAt<C, P>> extends true
    ? P
    : never
  : never

type IsCollection<T> =
  Untyped<T> extends true
    ? true
    : [NonNullable<T>] extends [never]
      ? false
      : [NonNullable<T>] extends [readonly (infer Entry)[]]
        ? Untyped<Entry> extends true
          ? true
          : [Entry] extends [object]
            ? true
            : false
        : string extends keyof NonNullable<T>
          ? true
          : false

/** Whether T says nothing: any, unknown or Json. */
type Untyped<T> = unknown extends T ? true : [Json] extends [T] ? true : false

type Below<T, Above, Depth extends readonly unknown[]> = Depth['length'] extends 8
  ? never
  : T extends Leaf
    ? never
    : string extends keyof T
      ? never
      : { [K in keyof T & string]-?: K extends NotPlain ? never : K | `${K}.${Deeper<T[K], Above, Depth>}` }[keyof T &
          string]

type Deeper<T, Above, Depth extends readonly unknown[]> =
  Untyped<T> extends true
    ? string
    : true extends Known<NonNullable<T>, Above>
      ? never
      : Below<T, Above | [NonNullable<T>], [...Depth, 0]>

/** `true` if T is one of the types above it: the type is recursive. */
type Known<T, Above> = Above extends readonly [infer A] ? ([T, A] extends [A, T] ? true : never) : never

type MemberOf<C, K extends string> = C extends Leaf ? undefined : K extends keyof C ? C[K] : undefined

type NotPlain = `${string}${'.' | '[' | ']' | '"' | ' '}${string}` | ''
type Leaf =
  | null
  | undefined
  | boolean
  | number
  | string
  | bigint
  | symbol
  | readonly unknown[]
  | ((...args: never) => unknown)
