/**
 * Who may do what: a role says what, a prefix of config names says where. What is not granted here is denied. Who
 * somebody is, `tokens.ts` and the HTTP layer find out.
 */
import { isBelow } from 'midflight/protocol'

export type Role = 'viewer' | 'publisher' | 'approver' | 'agent' | 'metrics' | 'admin'

export const roles: readonly Role[] = ['viewer', 'publisher', 'approver', 'agent', 'metrics', 'admin']

/** `read` is what makes a config visible at all. */
export type Permission =
  | 'read' // content, releases, drafts, diffs, nodes
  | 'publish'
  | 'rollback'
  | 'draft' // write, edit, withdraw
  | 'approve'
  | 'break-glass' // publish or roll back against a rule, with a reason
  | 'configure' // create a config, change its schema, rules or reviewers
  | 'connect' // be a node of the fleet
  | 'read-audit'
  | 'manage-tokens'
  | 'read-metrics'
  | 'operate' // backup, pruning: the whole control plane, whatever the config

const read: readonly Permission[] = ['read']
const write: readonly Permission[] = ['read', 'publish', 'rollback', 'draft']

/** An agent gets its own config by `connect` and sees nothing else. */
const granted: Readonly<Record<Role, readonly Permission[]>> = {
  viewer: read,
  publisher: write,
  approver: ['read', 'draft', 'approve'],
  agent: ['connect'],
  metrics: ['read-metrics'],
  admin: [
    ...write,
    'approve',
    'break-glass',
    'configure',
    'connect',
    'read-audit',
    'manage-tokens',
    'read-metrics',
    'operate',
  ],
}

/** A role may have come from outside (OIDC), and be any text. */
function permissionsOf(role: Role): readonly Permission[] {
  return Object.hasOwn(granted, role) ? granted[role] : []
}

/** Somebody who has shown who they are. */
export interface Principal {
  /** As it stands in the audit log. */
  readonly name: string
  /** Which of those that ever had the name it is: the id of a token. Left out where a name is one caller for ever. */
  readonly id?: string
  readonly role: Role
  /** Whole segments of config names: `shop` covers `shop/gateway` and not `shopping`. The empty prefix is everything. */
  readonly prefix: string
}

/** Whose request it is, beyond doubt: for what must never be shared between two callers. */
export function callerOf({ id, name }: Principal): string {
  return id ?? name
}

/** `hidden`: to be answered exactly like a config that is not there. */
export type Decision = 'allowed' | 'denied' | 'hidden'

export function decide(principal: Principal, permission: Permission, config: string): Decision {
  if (!isBelow(principal.prefix, config)) return 'hidden'
  const permissions = permissionsOf(principal.role)
  if (permissions.includes(permission)) return 'allowed'
  return permissions.includes('read') ? 'denied' : 'hidden'
}

/** What is about no config in particular (the whole audit log, a backup) needs the empty prefix. */
export function decideForAll(principal: Principal, permission: Permission): Decision {
  const allowed = principal.prefix === '' && permissionsOf(principal.role).includes(permission)
  return allowed ? 'allowed' : 'denied'
}

/** Whether a principal may hand out this role here: never more, and never elsewhere, than it has itself. */
export function mayGrant(principal: Principal, role: Role, prefix: string): boolean {
  if (!roles.includes(role) || !isBelow(principal.prefix, prefix)) return false
  const own = permissionsOf(principal.role)
  return own.includes('manage-tokens') && permissionsOf(role).every((permission) => own.includes(permission))
}
