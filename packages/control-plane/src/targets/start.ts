/** Puts the deployer of a control plane together: which installers there are, and which nodes are known. */
import { isBelow, isConfigName } from 'midflight/protocol'
import type { Coordinator } from '../coordinator.ts'
import type { Domain } from '../domain.ts'
import type { PublishResult } from '../publish.ts'
import type { Roster } from '../roster.ts'
import { agentInstaller, hostsOf } from './agent-installer.ts'
import type { DeploymentRecord } from './deployment.ts'
import { Deployer } from './deployer.ts'
import { httpInstaller, type HttpInstallerOptions } from './http-installer.ts'
import type { Pace } from './pace.ts'
import { ownAgents } from './targets.ts'

/** Which configs, with all below them, may use an installer; `""` is all. Others have none. */
interface Granted {
  readonly configs: readonly string[]
}

export interface DeployOptions {
  /** Foreign node-management APIs, by the names that targets have for them. */
  readonly installers?: Readonly<Record<string, HttpInstallerOptions & Granted>>
  /** Whose publishers may bring packages to Midflight's own agents. Everywhere else only who may publish `nodes/…`. */
  readonly agents?: Granted
  /** How long is waited for what, in milliseconds; each has a default. */
  readonly pace?: Partial<Pace>
}

interface Around {
  readonly domain: Domain
  readonly roster: Roster
  readonly coordinator: Coordinator
  readonly published: (result: PublishResult) => void
  readonly onMoved: (record: DeploymentRecord) => void
  readonly onProblem: (error: unknown) => void
}

/** @throws TypeError for options that cannot be used. */
export async function startDeployer(
  around: Around,
  { installers = {}, agents = { configs: [] }, pace = {} }: DeployOptions,
): Promise<Deployer> {
  const { domain, roster, coordinator, published, onMoved, onProblem } = around
  const foreign = Object.entries(installers).map(([name, options]) => [name, httpInstaller(name, options)] as const)
  if (Object.hasOwn(installers, ownAgents))
    throw new TypeError(`an installer is called ${ownAgents}, as Midflight's own are`)
  const grants = new Map(
    [...Object.entries(installers), [ownAgents, agents] as const].map(([name, { configs }]) => {
      const isWell = Array.isArray(configs) && configs.every((one) => one === '' || isConfigName(one))
      if (isWell) return [name, configs]
      throw new TypeError(`installer ${name}: configs is no list of configs that may use it, such as ["shop"], or [""]`)
    }),
  )
  return await Deployer.start({
    domain,
    epoch: coordinator.epoch,
    nodes: () => hostsOf(roster),
    installers: new Map([[ownAgents, agentInstaller({ domain, roster, published })], ...foreign]),
    mayUse: (name, config) => grants.get(name)?.some((prefix) => isBelow(prefix, config)) === true,
    onMoved,
    onProblem,
    pace,
  })
}
