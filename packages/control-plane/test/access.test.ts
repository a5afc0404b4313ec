/** Who may do what, where: the whole table. */
import { expect, test } from 'vitest'
import { decide, decideForAll, mayGrant, roles, type Permission, type Principal, type Role } from '../src/access.ts'

const permissions: readonly Permission[] = [
  'read',
  'publish',
  'rollback',
  'draft',
  'approve',
  'break-glass',
  'configure',
  'connect',
  'read-audit',
  'manage-tokens',
  'read-metrics',
  'operate',
]
const who = (role: Role, prefix = ''): Principal => ({ name: role, role, prefix })

test('the table of roles: what is not granted is denied', () => {
  const table = Object.fromEntries(
    roles.map((role) => [role, permissions.filter((one) => decide(who(role), one, 'shop/a') === 'allowed').join(' ')]),
  )
  expect(table).toEqual({
    viewer: 'read',
    publisher: 'read publish rollback draft',
    approver: 'read draft approve',
    agent: 'connect',
    metrics: 'read-metrics',
    admin: permissions.join(' '),
  })
})

test('a role that is not there may do nothing, and sees nothing', () => {
  const stranger = who('root' as Role)
  for (const permission of permissions) expect(decide(stranger, permission, 'shop/a')).toBe('hidden')
  for (const permission of permissions) expect(decideForAll(stranger, permission)).toBe('denied')
  expect(decide(who('constructor' as Role), 'read', 'shop/a')).toBe('hidden')
})

test('a prefix covers whole segments; what lies elsewhere looks like what is not there, for every permission', () => {
  const publisher = who('publisher', 'shop/gateway')
  for (const name of ['shop/gateway', 'shop/gateway/prod']) expect(decide(publisher, 'publish', name)).toBe('allowed')
  for (const name of ['shop', 'shop/gateway2', 'shop/gate', 'other/shop/gateway']) {
    for (const permission of permissions) expect([name, decide(publisher, permission, name)]).toEqual([name, 'hidden'])
  }
})

test('who may see a config is told that something is denied; an agent is not even told that it is there', () => {
  expect(decide(who('viewer', 'shop'), 'publish', 'shop/a')).toBe('denied')
  expect(decide(who('agent', 'shop'), 'read', 'shop/a')).toBe('hidden')
})

test('what is about everything needs the empty prefix', () => {
  expect(decideForAll(who('admin'), 'operate')).toBe('allowed')
  expect(decideForAll(who('admin', 'shop'), 'operate')).toBe('denied')
  expect(decideForAll(who('viewer'), 'read-audit')).toBe('denied')
  expect(decideForAll(who('metrics'), 'read-metrics')).toBe('allowed')
  expect(decideForAll(who('metrics'), 'operate')).toBe('denied')
})

test('nobody hands out more than they have, or elsewhere', () => {
  expect(mayGrant(who('admin'), 'admin', '')).toBe(true)
  expect(mayGrant(who('admin', 'shop'), 'admin', 'shop/a')).toBe(true)
  expect(mayGrant(who('admin', 'shop'), 'viewer', '')).toBe(false)
  expect(mayGrant(who('admin', 'shop'), 'viewer', 'shopping')).toBe(false)
  for (const role of roles) if (role !== 'admin') expect(mayGrant(who(role), 'viewer', '')).toBe(false)
  expect(mayGrant(who('admin'), 'root' as Role, '')).toBe(false)
})
